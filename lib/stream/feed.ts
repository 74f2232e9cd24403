/**
 * application's iterable ─► **feed** ─► stream: events that the application has yet to produce. Owns when the next one
 * is requested, and that the source is released however the stream or the source ends. Must not know the queue: an
 * event of a feed waits here, one at a time, so it is never dropped.
 *
 * ```
 *   stream has credit ─► pull ─► event ─► send ─┐      the stream closes, or `signal` aborts: the source is released,
 *          ▲                                    │      also while a pull is pending
 *          └────────────────────────────────────┘
 * ```
 */
import { Readable } from 'node:stream'
import { type ReadableStreamDefaultReader, WritableStream } from 'node:stream/web'
import type { CloseReason } from '../core/close-reasons.js'
import { diagnostics, reportTo } from '../core/diagnostics.js'
import { InvalidOptionError, SseError } from '../core/errors.js'
import type { EncodedEvent, SseEvent } from '../core/message.js'
import { assertSignal } from '../core/validation.js'
import { encodeOwnEvent } from '../wire/encode.js'

/** What `sendAll` sends: an array or another iterable, an async generator, or a WHATWG `ReadableStream` of events. */
export type SendAllSource = Iterable<SseEvent> | AsyncIterable<SseEvent> | ReadableEvents

/** The part of a WHATWG `ReadableStream` of events that a feed uses. */
export interface ReadableEvents {
  /** Locks the stream. */
  getReader(): Pick<ReadableStreamDefaultReader<SseEvent>, 'read' | 'cancel'>
}

/** Options of `EventStream.sendAll`. */
export interface SendAllOptions {
  /** Ends the feed, but not the stream. @defaultValue the feed ends with its source or the stream */
  readonly signal?: AbortSignal | undefined
}

/** How `EventStream.sendAll` ended. */
export interface SendAllResult {
  /** The number of events that were sent. */
  readonly sent: number
  /** `done`: all of them; `aborted`: the signal aborted; otherwise the stream has closed, for this reason. */
  readonly reason: 'done' | 'aborted' | CloseReason
}

/** The stream, as its feeds see it. */
export interface FedStream {
  readonly closeReason: CloseReason | undefined
  readonly maxEventBytes: number
  /** Whether the client takes events now, and none waits. */
  readonly ready: boolean
  /** Sends the event if the stream is ready. @returns whether it was sent */
  trySend(event: EncodedEvent): boolean
  /** Calls `listener` when the stream becomes ready, and when it begins to close. @returns removes the listener */
  watch(listener: () => void): () => void
}

/** After so many events a feed waits for the next turn of the event loop. */
const TURN_EVENTS = 128

/** Where the events come from. `release` frees what the source holds, before its end. */
interface Source {
  pull(): Promise<Pulled>
  release(): Promise<unknown>
}

interface Pulled {
  readonly done?: unknown
  readonly value?: unknown
}

/** See `EventStream.sendAll`. */
export async function sendAll(
  stream: FedStream,
  events: SendAllSource,
  options: SendAllOptions = {},
): Promise<SendAllResult> {
  if (typeof options !== 'object' || options === null) {
    throw new InvalidOptionError('The options of sendAll() must be an object { signal? }')
  }
  const { signal } = options
  assertSignal(signal)
  return new Feed(stream, sourceOf(events), signal).run()
}

class Feed {
  readonly #stream: FedStream
  readonly #source: Source
  readonly #signal: AbortSignal | undefined
  #sent = 0
  /** Waits for the client, not for the source. */
  #needsRoom = false
  /** Ends the current wait. */
  #wake: () => void = () => undefined

  constructor(stream: FedStream, source: Source, signal: AbortSignal | undefined) {
    this.#stream = stream
    this.#source = source
    this.#signal = signal
  }

  async run(): Promise<SendAllResult> {
    const onChange = (): void => {
      if (this.#needsRoom || this.#over !== undefined) this.#wake()
    }
    const unwatch = this.#stream.watch(onChange)
    this.#signal?.addEventListener('abort', onChange)
    try {
      return { reason: await this.#sendUntilOver(), sent: this.#sent }
    } finally {
      unwatch()
      this.#signal?.removeEventListener('abort', onChange)
    }
  }

  /** Why the feed ends before its source. */
  get #over(): SendAllResult['reason'] | undefined {
    return this.#stream.closeReason ?? (this.#signal?.aborted === true ? 'aborted' : undefined)
  }

  async #sendUntilOver(): Promise<SendAllResult['reason']> {
    for (let next = await this.#next(); next !== undefined; next = await this.#next()) {
      if (next.done) return 'done'
      await this.#send(this.#encode(next.value as SseEvent))
      // A source that has everything at once must not keep the process from anything else.
      if (this.#sent % TURN_EVENTS === 0) await new Promise(setImmediate)
    }
    this.#release()
    return this.#over as SendAllResult['reason']
  }

  /** Requests the next event once the client takes it. @returns `undefined`: the feed is over, whatever the source does */
  async #next(): Promise<Pulled | undefined> {
    if (!this.#stream.ready) await this.#untilReady()
    if (this.#over !== undefined) return undefined
    try {
      const next = await new Promise<Pulled | undefined>((resolve, reject) => {
        this.#wake = () => resolve(undefined)
        this.#source.pull().then(resolve, reject)
      })
      return this.#over === undefined ? next : undefined
    } catch (error) {
      // A source that waits for the stream's signal fails when the stream closes.
      if (this.#over !== undefined) return undefined
      throw error
    }
  }

  async #send(event: EncodedEvent): Promise<void> {
    while (this.#over === undefined) {
      if (this.#stream.trySend(event)) {
        this.#sent++
        return
      }
      await this.#untilReady()
    }
  }

  #encode(event: SseEvent): EncodedEvent {
    try {
      return encodeOwnEvent(event, this.#stream.maxEventBytes)
    } catch (error) {
      this.#release()
      throw error
    }
  }

  async #untilReady(): Promise<void> {
    this.#needsRoom = true
    while (!this.#stream.ready && this.#over === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#needsRoom = false
  }

  /** Not awaited: a generator that waits for something returns only after that. */
  #release(): void {
    this.#source.release().catch((error: unknown) => reportTo(diagnostics.callbackError, 'sendAll', error))
  }
}

/** @throws InvalidOptionError */
function sourceOf(events: SendAllSource): Source {
  if (typeof events === 'object' && events !== null) {
    // Not their async iterators, which release the streams only after a pending read.
    if ('getReader' in events) return sourceOfReader(events.getReader())
    if (events instanceof Readable) return sourceOfReadable(events)
    if (hasMethod(events, Symbol.asyncIterator)) return sourceOfIterator(events[Symbol.asyncIterator]())
    if (hasMethod(events, Symbol.iterator)) return sourceOfIterator(events[Symbol.iterator]())
  }
  throw new InvalidOptionError('sendAll() needs an iterable, an async iterable or a ReadableStream of events')
}

function hasMethod<Name extends symbol>(events: object, name: Name): events is Record<Name, () => Iterator<SseEvent>> {
  return typeof (events as Record<symbol, unknown>)[name] === 'function'
}

function sourceOfReadable(readable: Readable): Source {
  const { pull } = sourceOfIterator(readable[Symbol.asyncIterator]() as AsyncIterator<SseEvent>)
  return { pull, release: async () => readable.destroy() }
}

function sourceOfReader(reader: ReturnType<ReadableEvents['getReader']>): Source {
  return { pull: async () => reader.read(), release: async () => reader.cancel() }
}

function sourceOfIterator(iterator: AsyncIterator<SseEvent> | Iterator<SseEvent>): Source {
  return {
    async pull() {
      const next: unknown = await iterator.next()
      if ((typeof next === 'object' && next !== null) || typeof next === 'function') return next
      throw new TypeError(`The iterator returned ${String(next)} instead of an object { value, done }`)
    },
    release: async () => iterator.return?.(),
  }
}

/** What `EventStream.writable` uses of its stream. */
interface WritableTarget extends FedStream {
  readonly signal: AbortSignal
  end(): Promise<void>
  close(reason: CloseReason): Promise<void>
}

/** See `EventStream.writable`. */
export function writableOf(stream: WritableTarget): WritableStream<SseEvent> {
  let isEnding = false
  let written = 0
  return new WritableStream<SseEvent>({
    start(controller) {
      const onAbort = (): void => {
        if (!isEnding) controller.error(closedError(stream))
      }
      stream.signal.addEventListener('abort', onAbort, { once: true })
    },
    async write(event) {
      const { sent } = await sendAll(stream, [event])
      if (sent === 0) throw closedError(stream)
      if (++written % TURN_EVENTS === 0) await new Promise(setImmediate)
    },
    async close() {
      isEnding = true
      await stream.end()
      if (stream.closeReason !== 'completed') throw closedError(stream)
    },
    abort: () => stream.close('error'),
  })
}

function closedError({ closeReason }: FedStream): SseError {
  return new SseError('ERR_SSE_CLOSED', `The stream has closed: ${closeReason}`)
}
