/** An independent client: Node's HTTP client and the parser of the package eventsource-parser. */
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { createParser } from 'eventsource-parser'
import type { ReceivedEvent, Session } from '../checker/session.js'
import type { Random } from '../random.js'
import type { KitProcess } from './kit-process.js'
import type { Endpoint, Quality } from './network.js'
import type { VirtualTime } from './virtual-time.js'

export interface ClientOptions {
  readonly session: Session
  readonly time: VirtualTime
  readonly random: Random
  readonly quality: Quality
  /** The processes to which the client connects. */
  readonly processes: () => readonly KitProcess[]
  /** Share of its connections that are polls. */
  readonly polls: number
  /** The maximum number of unacknowledged events; `undefined`: no window. */
  readonly window: number | undefined
  readonly earliest: boolean
  /** How long its sessions last, in ms; `undefined`: until they are revoked. */
  readonly sessionMs: number | undefined
  /** Requests have a session. */
  readonly sessions: boolean
  /** After this silence it opens another connection, in ms. */
  readonly silenceMs: number
}

/** What the application knows of a signed-in user. */
export interface SignedIn {
  readonly user: string
  readonly tenant: string
  readonly id: string
  readonly issuedAt: number
  readonly expiresAt?: number
}

/** A stream ends so soon after its session has expired, in ms: the kit's timers are that coarse. */
const EXPIRY_MS = 100

/** The time after which an incomplete answer is abandoned, in ms. */
const ANSWER_MS = 60_000

/** What the world does with a client. */
export interface SimulatedClient {
  readonly session: Session
  readonly connections: number
  readonly signedIn: SignedIn | undefined
  run(): Promise<void>
  stop(): void
  /** The connection is lost, and both sides notice. */
  cut(): void
  /** The connection is lost without a sign. */
  vanish(): void
  /** The client closes its connection and returns after `ms`. */
  leave(ms: number): void
  /** The client reads nothing for `ms`. */
  pause(ms: number): void
  /** The client's session was revoked. @param by the process; `undefined`: no process may accept it any more */
  revoked(session: SignedIn, by: KitProcess | undefined): void
}

export class SimClient implements SimulatedClient {
  readonly session: Session
  connections = 0
  readonly #options: ClientOptions
  #endpoint: Endpoint | undefined
  #response: IncomingMessage | undefined
  #stopped = false
  #pausedUntil = 0
  #awayUntil = 0
  #unacknowledged = 0
  #silence: { cancel(): void } | undefined
  #signedIn: SignedIn | undefined
  #signIns = 0
  #servedBy: KitProcess | undefined

  constructor(options: ClientOptions) {
    this.#options = options
    this.session = options.session
  }

  async run(): Promise<void> {
    const { time, random, polls, session, processes } = this.#options
    while (!this.#stopped && !session.completed) {
      await time.sleep(Math.max(this.#awayUntil - time.now(), random.next() * 200))
      const running = processes()
      if (this.#stopped || running.length === 0) continue
      this.connections++
      const process = running[random.below(running.length)] as KitProcess
      try {
        if (session.cursor !== '' && random.chance(polls)) await this.#poll(process)
        else await this.#stream(process)
      } catch (error) {
        if (!(error instanceof Error && 'code' in error)) throw error
        session.note(`${error.code}`)
      }
    }
  }

  stop(): void {
    this.#stopped = true
    this.#endpoint?.destroy()
  }

  /** The connection is lost, and both sides detect that. */
  cut(): void {
    this.#endpoint?.link.cut()
  }

  /** The connection is lost without a sign. */
  vanish(): void {
    this.#endpoint?.link.blackHole()
  }

  /** The client closes its connection and returns after `ms`. */
  leave(ms: number): void {
    this.#awayUntil = this.#options.time.now() + ms
    this.#endpoint?.destroy()
  }

  /** The client reads nothing for `ms`. */
  pause(ms: number): void {
    const { time } = this.#options
    this.#pausedUntil = Math.max(this.#pausedUntil, time.now() + ms)
    this.#response?.pause()
    time.after(ms, () => {
      if (time.now() >= this.#pausedUntil) this.#response?.resume()
    })
  }

  get #query(): string {
    return this.session.channels.map((channel) => `channel=${channel}`).join('&')
  }

  async #stream(process: KitProcess): Promise<void> {
    const { session, window, earliest } = this.#options
    const query = `${this.#query}${earliest ? '&from=earliest' : ''}${window === undefined ? '' : `&window=${window}`}`
    const headers = session.cursor === '' ? {} : { 'last-event-id': session.cursor }
    session.connected(process.name, 'stream', window)
    this.#beginConnection(process)
    const response = await this.#request(process, 'GET', `/stream?${query}`, headers)
    session.note(`${response.statusCode}`)
    if (response.statusCode !== 200) {
      response.resume()
      if (response.statusCode === 401 && this.#options.sessions) this.#signedIn = undefined
      else if (response.statusCode !== 503) session.violate(`a stream is answered with ${response.statusCode}`)
      return
    }
    let stream = ''
    const parser = createParser({
      onEvent: (event) => {
        session.received(event)
        if (event.event === 'sse.expired') this.#signedIn = undefined
        if (event.event === 'sse.open') stream = (JSON.parse(event.data) as { stream: string }).stream
        else if (event.id !== undefined) this.#acknowledgeSometimes(process, stream)
      },
    })
    response.setEncoding('utf8')
    response.on('data', (text: string) => {
      this.#watchSilence()
      parser.feed(text)
    })
    this.#response = response
    if (this.#pausedUntil > this.#options.time.now()) response.pause()
    await new Promise<void>((resolve) => {
      response.on('error', () => resolve())
      response.on('close', () => resolve())
    })
    this.#silence?.cancel()
    session.note('closed')
  }

  async #poll(process: KitProcess): Promise<void> {
    const { session, random } = this.#options
    session.connected(process.name, 'poll')
    this.#beginConnection(process)
    const expiresAt = this.#signedIn?.expiresAt
    const path = `/poll?${this.#query}&wait=${random.below(2000)}&cursor=${encodeURIComponent(session.cursor)}`
    const response = await this.#request(process, 'GET', path, {})
    const lateMs = this.#options.time.wallTime() - (expiresAt ?? Number.POSITIVE_INFINITY)
    const [, delayMs] = this.#options.quality.delayMs
    if (response.statusCode === 200 && lateMs > EXPIRY_MS + delayMs)
      session.violate(`a poll was answered ${lateMs} ms after its session had expired`)
    const body = await textOf(response)
    session.note(`${response.statusCode}`)
    if (response.statusCode !== 200) {
      if (response.statusCode === 401 && this.#options.sessions) this.#signedIn = undefined
      else if (response.statusCode !== 503) session.violate(`a poll is answered with ${response.statusCode}: ${body}`)
      return
    }
    const answer = JSON.parse(body) as { events: ReceivedEvent[]; cursor: string; ended?: true }
    session.polled(answer.events, answer.cursor)
    if (answer.ended === true) session.complete()
  }

  /** The session that the client uses now. */
  get signedIn(): SignedIn | undefined {
    return this.#signedIn
  }

  /** The client's session was revoked. @param by the process; `undefined`: no process may accept it any more */
  revoked({ id }: SignedIn, by: KitProcess | undefined): void {
    if (this.#signedIn?.id === id && (by === undefined || this.#servedBy === by)) {
      this.session.deny(this.#options.time.now())
    }
  }

  #beginConnection(process: KitProcess): void {
    const { time, sessions, sessionMs, session } = this.#options
    this.#servedBy = process
    if (!sessions) return
    const now = time.wallTime()
    this.#signedIn ??= {
      user: session.client,
      tenant: 'acme',
      id: `${session.client} ${++this.#signIns}`,
      issuedAt: now,
      ...(sessionMs !== undefined && { expiresAt: now + sessionMs }),
    }
    const { expiresAt } = this.#signedIn
    if (expiresAt !== undefined) session.deny(time.now() + expiresAt - now + EXPIRY_MS)
  }

  /** Well before the window is used up. */
  #acknowledgeSometimes(process: KitProcess, stream: string): void {
    const { session, window, random } = this.#options
    if (window === undefined) return
    this.#unacknowledged++
    if (this.#unacknowledged < window && random.chance(0.5)) return
    this.#unacknowledged = 0
    session.acknowledged(window)
    const body = JSON.stringify({ stream, cursor: session.cursor })
    const headers = { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }
    void this.#acknowledge(process, body, headers)
  }

  /** Retries until an acknowledgement is answered, or the stream has another connection. */
  async #acknowledge(process: KitProcess, body: string, headers: Record<string, string>): Promise<void> {
    const { session, time } = this.#options
    const { connections } = this
    const { events } = session
    // An application has no acknowledgements of a user who has signed out.
    const isSignedOut = (): boolean => this.#options.sessions && this.#signedIn === undefined
    while (!this.#stopped && connections === this.connections && !isSignedOut()) {
      let isForwarded = false
      try {
        const response = await this.#request(process, 'POST', '/ack', headers, body)
        await textOf(response)
        const { statusCode = 0 } = response
        session.note(`ack ${statusCode}`)
        isForwarded = statusCode === 202
        if (statusCode === 204 || (statusCode === 401 && this.#options.sessions)) return
        if (![202, 404, 503].includes(statusCode)) {
          session.violate(`an acknowledgement is answered with ${statusCode}`)
        }
      } catch (error) {
        if (!(error instanceof Error && 'code' in error)) throw error
      }
      await time.sleep(isForwarded ? 2000 : 500)
      // Without another event it may have been lost on the way to the process of the stream.
      if (isForwarded && session.events > events) return
    }
  }

  #watchSilence(): void {
    const { time, silenceMs, session } = this.#options
    const endpoint = this.#endpoint
    this.#silence?.cancel()
    this.#silence = time.after(silenceMs, () => {
      if (time.now() < this.#pausedUntil) return this.#watchSilence()
      session.note('silent')
      endpoint?.destroy()
    })
  }

  #request(
    process: KitProcess,
    method: 'GET' | 'POST',
    path: string,
    headers: Record<string, string>,
    body?: string,
  ): Promise<IncomingMessage> {
    const { random, quality, time } = this.#options
    const endpoint = process.connect(random, quality)
    if (method === 'GET') this.#endpoint = endpoint
    return new Promise((resolve, reject) => {
      const late = time.after(ANSWER_MS, () => endpoint.destroy(Object.assign(new Error('late'), { code: 'LATE' })))
      const req: ClientRequest = request({
        method,
        path,
        headers: { host: 'kit', ...headers, ...(this.#signedIn && { 'x-session': JSON.stringify(this.#signedIn) }) },
        createConnection: () => endpoint as never,
      })
      req.on('error', (error) => {
        late.cancel()
        reject(error)
      })
      req.on('response', (response) => {
        late.cancel()
        resolve(response)
      })
      req.end(body)
    })
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  response.setEncoding('utf8')
  let body = ''
  for await (const chunk of response) body += chunk
  return body
}
