/** A client that follows channels by stream and poll, over several processes, and checks all that it is sent. */
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import type { Random } from '../proof/random.js'
import type { History } from './history.js'

interface Position {
  readonly epoch: string
  readonly offset: number
}

interface Log {
  /** `undefined`: nothing is expected of what comes next. */
  at: Position | undefined
  /** Offset → token, since the last reset. */
  delivered: Map<number, string>
  readonly tokens: Set<string>
}

export interface FollowerOptions {
  readonly name: string
  readonly channels: readonly string[]
  /** Addresses of the processes. */
  readonly urls: readonly string[]
  readonly history: History
  readonly random: Random
  /** Asks for all that is kept at first. */
  readonly earliest: boolean
  /** Share of its connections that are polls. */
  readonly polls: number
  /** Changes the process on reconnecting. */
  readonly roams: boolean
  /** Cuts its own connection now and then, and reads nothing for a while. */
  readonly restless: boolean
}

/** Read without an event for so long, a stream is taken for dead: longer than the kit's heartbeats. */
const SILENCE_MS = 40_000

export class Follower {
  readonly name: string
  events = 0
  announcements = 0
  connections = 0
  /** Tokens that are waited for. */
  readonly finals = new Set<string>()
  readonly #options: FollowerOptions
  readonly #logs = new Map<string, Log>()
  readonly #had = new Set<string>()
  readonly #trace: string[] = []
  #cursor = ''
  #at = 0
  #stopped = false
  /** No more cuts and pauses. */
  calm = false
  #request: ClientRequest | undefined

  constructor(options: FollowerOptions) {
    this.#options = options
    this.name = options.name
    this.#at = Number(options.name.replace(/\D/g, '')) % options.urls.length
    for (const channel of options.channels)
      this.#logs.set(channel, { at: undefined, delivered: new Map(), tokens: new Set() })
  }

  get channels(): readonly string[] {
    return this.#options.channels
  }

  async run(): Promise<void> {
    const { random, polls, roams, urls } = this.#options
    while (!this.#stopped) {
      if (roams && random.chance(0.5)) this.#at = (this.#at + 1) % urls.length
      this.connections++
      try {
        if (this.#cursor !== '' && random.chance(polls)) await this.#poll()
        else await this.#stream()
      } catch {
        // Refused or cut off: it comes again.
      }
      await new Promise((resolve) => setTimeout(resolve, 50 + random.below(150)))
    }
  }

  stop(): void {
    this.#stopped = true
    this.#request?.destroy()
  }

  /** The token has come, whatever was reset since. */
  hadEver(token: string): boolean {
    return this.#had.has(token)
  }

  /** The last that happened to it. */
  get trace(): readonly string[] {
    return this.#trace
  }

  get #query(): string {
    return this.channels.map((channel) => `channel=${channel}`).join('&')
  }

  get #url(): string {
    return this.#options.urls[this.#at] as string
  }

  async #open(path: string, headers: Record<string, string>): Promise<IncomingMessage> {
    this.#note(`asks ${path.slice(0, 80)}`)
    return new Promise((resolve, reject) => {
      const req = request(this.#url + path, { headers, agent: false })
      this.#request = req
      req.on('error', reject)
      req.on('response', resolve)
      req.setTimeout(SILENCE_MS, () => req.destroy(new Error('silent')))
      req.end()
    })
  }

  async #stream(): Promise<void> {
    const { random, earliest, restless } = this.#options
    const resumes = this.#cursor !== ''
    const headers = resumes ? { 'last-event-id': this.#cursor } : undefined
    const response = await this.#open(`/stream?${this.#query}${earliest ? '&from=earliest' : ''}`, headers ?? {})
    this.#note(`stream ${this.#at} ${response.statusCode} from ${this.#cursor}`)
    if (response.statusCode !== 200) {
      response.resume()
      return
    }
    const parser = createParser({ onEvent: (event) => this.#take(event) })
    response.setEncoding('utf8')
    response.on('data', (text: string) => parser.feed(text))
    const timers: NodeJS.Timeout[] = []
    if (restless && !this.calm) {
      timers.push(setTimeout(() => response.destroy(), 500 + random.below(8000)))
      timers.push(setTimeout(() => response.pause(), random.below(4000)))
      timers.push(setTimeout(() => response.resume(), 4000 + random.below(2000)))
    }
    await new Promise<void>((resolve) => {
      response.on('error', () => resolve())
      response.on('close', () => resolve())
    })
    this.#note('closed')
    for (const timer of timers) clearTimeout(timer)
  }

  async #poll(): Promise<void> {
    const wait = this.#options.random.below(2000)
    const response = await this.#open(
      `/poll?${this.#query}&wait=${wait}&cursor=${encodeURIComponent(this.#cursor)}`,
      {},
    )
    response.setEncoding('utf8')
    let body = ''
    for await (const chunk of response) body += chunk
    this.#note(`poll ${this.#at} ${response.statusCode} from ${this.#cursor}`)
    if (response.statusCode !== 200) return
    const { events, cursor } = JSON.parse(body) as { events: EventSourceMessage[]; cursor: string }
    for (const event of events) this.#take(event)
    this.#settle('poll', cursor)
    this.#cursor = cursor
  }

  #take({ id, event = 'message', data }: EventSourceMessage): void {
    if (id !== undefined) this.#cursor = id
    this.#note(`${event} ${id ?? ''} ${data.slice(0, 80)}`)
    if (event === 'sse.open' && id !== undefined) this.#settle(event, id)
    else if (event === 'sse.gap') this.#gap(JSON.parse(data))
    else if (event === 'sse.reset') this.#reset(JSON.parse(data), id)
    else if (event === 'sse.dropped') this.#violate(`sse.dropped ${data}`)
    else if (!event.startsWith('sse.')) this.#event(JSON.parse(data), id)
  }

  #event({ c: channel, t: token }: { readonly c: string; readonly t: string }, id: string | undefined): void {
    this.events++
    this.finals.delete(token)
    const log = this.#logs.get(channel)
    const at = this.#positions(id)?.get(channel)
    if (log === undefined || at === undefined || id === undefined) {
      this.#violate(`an event of ${channel} with the id ${id}`)
      return
    }
    const { history } = this.#options
    history.names(channel, `${at.epoch}-${at.offset}`, token, this.name)
    history.saw(token, `${this.name} as ${at.epoch}-${at.offset}`)
    if (log.tokens.has(token)) this.#violate(`${token} came twice, now as ${id}`)
    log.tokens.add(token)
    this.#had.add(token)
    if (log.at !== undefined) {
      if (at.offset !== log.at.offset + 1) this.#violate(`${channel}: ${print(log.at)}, then ${print(at)} (${token})`)
      if (at.epoch !== log.at.epoch) this.#renamed(channel, log.at)
    }
    log.at = at
    log.delivered.set(at.offset, token)
    this.#settle(`event of ${channel}`, id)
  }

  #renamed(channel: string, at: Position): void {
    const { delivered } = this.#logs.get(channel) as Log
    this.#options.history.silent({ channel, after: print(at), follower: this.name, servedBy: this.#at, delivered })
  }

  /** An id is where the client stands. */
  #settle(what: string, id: string): void {
    const positions = this.#positions(id)
    if (positions === undefined) return
    for (const [channel, at] of positions) {
      const log = this.#logs.get(channel) as Log
      if (log.at !== undefined && log.at.offset !== at.offset) {
        this.#violate(`${what} puts ${channel} from ${print(log.at)} to ${print(at)}`)
      } else if (log.at !== undefined && log.at.epoch !== at.epoch) this.#renamed(channel, log.at)
      // The first open with `from=earliest` stands before what is gone.
      const unknown = log.at === undefined && this.#options.earliest && at.offset === 0
      log.at = unknown ? undefined : at
    }
  }

  #gap({ channel, from, to }: { readonly channel: string; readonly from: number; readonly to: number }): void {
    this.announcements++
    const log = this.#logs.get(channel)
    if (log === undefined) return
    if (log.at !== undefined && from !== log.at.offset + 1) this.#violate(`a gap from ${from} after ${print(log.at)}`)
    if (to < from) this.#violate(`a gap from ${from} to ${to}`)
    if (log.at !== undefined) log.at = { epoch: log.at.epoch, offset: to }
  }

  #reset({ channel }: { readonly channel: string }, id: string | undefined): void {
    this.announcements++
    const log = this.#logs.get(channel)
    if (log === undefined) return
    log.at = undefined
    log.delivered = new Map()
    log.tokens.clear()
    if (id !== undefined) this.#settle('sse.reset', id)
  }

  #positions(id: string | undefined): Map<string, Position> | undefined {
    const parts = id?.split('.') ?? []
    if (parts.length !== this.channels.length) {
      this.#violate(`the id ${id} for ${this.channels.length} channels`)
      return undefined
    }
    return new Map(
      this.channels.map((channel, i) => {
        const [epoch = '', offset] = (parts[i] as string).split('-')
        return [channel, { epoch, offset: Number(offset) }]
      }),
    )
  }

  #note(text: string): void {
    this.#trace.push(`${(performance.now() / 1000).toFixed(3)} ${text}`)
    if (this.#trace.length > 4000) this.#trace.splice(0, 2000)
  }

  #violate(text: string): void {
    this.#note(`VIOLATION ${text}`)
    this.#options.history.violate(`${this.name} (process ${this.#at}): ${text}`)
  }
}

function print({ epoch, offset }: Position): string {
  return `${epoch}-${offset}`
}
