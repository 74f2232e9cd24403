/** A client that follows channels by stream and poll, over several processes, and checks all received events. */
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { createParser } from 'eventsource-parser'
import type { History } from '../proof/checker/history.js'
import { type ReceivedEvent, Session } from '../proof/checker/session.js'
import type { Random } from '../proof/random.js'

export interface FollowerOptions {
  readonly name: string
  readonly channels: readonly string[]
  /** Addresses of the processes. */
  readonly urls: readonly string[]
  readonly history: History
  readonly random: Random
  /** The first connection requests all kept events. */
  readonly earliest: boolean
  /** Share of its connections that are polls. */
  readonly polls: number
  /** Changes the process on reconnecting. */
  readonly roams: boolean
  /** Cuts its own connection now and then, and reads nothing for a while. */
  readonly restless: boolean
}

/** A stream without an event for this time counts as dead. Longer than the interval of the kit's heartbeats. */
const SILENCE_MS = 40_000

export class Follower {
  readonly session: Session
  connections = 0
  /** Awaited tokens. */
  readonly finals = new Set<string>()
  readonly #options: FollowerOptions
  #at = 0
  #stopped = false
  /** Ends cuts and pauses. */
  calm = false
  #request: ClientRequest | undefined

  constructor(options: FollowerOptions) {
    const { name, channels, urls, history, earliest } = options
    this.#options = options
    this.#at = Number(name.replace(/\D/g, '')) % urls.length
    this.session = new Session({ client: name, channels, earliest, history, now: () => performance.now() })
  }

  get channels(): readonly string[] {
    return this.session.channels
  }

  async run(): Promise<void> {
    const { random, polls, roams, urls } = this.#options
    while (!this.#stopped) {
      if (roams && random.chance(0.5)) this.#at = (this.#at + 1) % urls.length
      this.connections++
      try {
        if (this.session.cursor !== '' && random.chance(polls)) await this.#poll()
        else await this.#stream()
      } catch {
        // Refused or disconnected: the follower reconnects.
      }
      await new Promise((resolve) => setTimeout(resolve, 50 + random.below(150)))
    }
  }

  stop(): void {
    this.#stopped = true
    this.#request?.destroy()
  }

  get #query(): string {
    return this.channels.map((channel) => `channel=${channel}`).join('&')
  }

  get #url(): string {
    return this.#options.urls[this.#at] as string
  }

  async #open(path: string, headers: Record<string, string>): Promise<IncomingMessage> {
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
    const { session } = this
    const headers = session.cursor === '' ? undefined : { 'last-event-id': session.cursor }
    session.connected(this.#process, 'stream')
    const response = await this.#open(`/stream?${this.#query}${earliest ? '&from=earliest' : ''}`, headers ?? {})
    session.note(`${response.statusCode}`)
    if (response.statusCode !== 200) {
      response.resume()
      return
    }
    const parser = createParser({
      onEvent: (event) => {
        session.received(event)
        this.#noteFinal(event)
      },
    })
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
    session.note('closed')
    for (const timer of timers) clearTimeout(timer)
  }

  async #poll(): Promise<void> {
    const { session } = this
    const wait = this.#options.random.below(2000)
    session.connected(this.#process, 'poll')
    const response = await this.#open(
      `/poll?${this.#query}&wait=${wait}&cursor=${encodeURIComponent(session.cursor)}`,
      {},
    )
    response.setEncoding('utf8')
    let body = ''
    for await (const chunk of response) body += chunk
    session.note(`${response.statusCode}`)
    if (response.statusCode !== 200) return
    const { events, cursor } = JSON.parse(body) as { events: ReceivedEvent[]; cursor: string }
    session.polled(events, cursor)
    for (const event of events) this.#noteFinal(event)
  }

  get #process(): string {
    return `process ${this.#at}`
  }

  #noteFinal({ event = 'message', data }: ReceivedEvent): void {
    if (!event.startsWith('sse.')) this.finals.delete((JSON.parse(data) as { readonly t: string }).t)
  }
}
