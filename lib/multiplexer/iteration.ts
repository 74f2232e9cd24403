/**
 * channel ─► log reader ─► collecting reader ─► **iteration** ─► `for await`: a program reads logs as clients do, with
 * the same cursors. Owns when an iteration begins and ends: it holds its channels from the first request for an item
 * until it ends, and at most one page of events, however slowly the program reads.
 */
import { BrokerError, InvalidOptionError } from '../core/errors.js'
import type { Position } from '../core/position.js'
import { assertSignal, oneOf } from '../core/validation.js'
import type { PolledEvent } from '../wire/contract.js'
import { parseCursor } from '../wire/cursor.js'
import type { Channel } from './channel/channel.js'
import type { ChannelRegistry } from './channel/registry.js'
import type { ReadOptions } from './options.js'
import { CollectingReader } from './reader/collecting-reader.js'
import { resumePositions } from './reader/resume.js'

/**
 * What an iteration collects at most while the program handles as much: together as much as a page of a log. One event
 * always fits.
 */
const BOUNDS = { maxEvents: 128, maxBytes: 524_288 }

type Item = IteratorResult<PolledEvent, undefined>

const DONE: Item = { done: true, value: undefined }

interface ReadParams {
  readonly names: readonly string[]
  readonly cursor: readonly Position[] | undefined
  readonly earliest: boolean
}

/** The iterations of a multiplexer. */
export class Iterations {
  readonly #registry: ChannelRegistry
  readonly #open = new Set<Iteration>()
  #closed = false

  constructor(registry: ChannelRegistry) {
    this.#registry = registry
  }

  /** See `Multiplexer.read`. @throws InvalidOptionError */
  create(names: readonly string[], options: ReadOptions): AsyncIterableIterator<PolledEvent> {
    const { after, from = 'head', signal } = options
    const cursor = after === undefined ? undefined : parseCursor(after)
    if (after !== undefined && cursor === undefined) {
      const given = String(after).slice(0, 40)
      throw new InvalidOptionError(
        `after must be a cursor, an item's id or what cursor() returns: ${JSON.stringify(given)}`,
      )
    }
    assertSignal(signal)
    const earliest = oneOf('from', from, ['head', 'earliest']) === 'earliest'
    return new Iteration({ names, cursor, earliest }, this.#registry, signal, this.#track)
  }

  /** Ends all iterations with an error: their logs have not ended. */
  close(): void {
    this.#closed = true
    for (const iteration of this.#open) iteration.fail(closedError())
  }

  readonly #track = (iteration: Iteration, open: boolean): void => {
    if (!open) this.#open.delete(iteration)
    else if (this.#closed) iteration.fail(closedError())
    else this.#open.add(iteration)
  }
}

/** `new` until the first item is requested; `failed` until the error is thrown. */
type State = 'new' | 'open' | 'failed' | 'ended'

class Iteration implements AsyncIterableIterator<PolledEvent> {
  readonly #params: ReadParams
  readonly #registry: ChannelRegistry
  readonly #signal: AbortSignal | undefined
  readonly #track: (iteration: Iteration, open: boolean) => void
  #state: State = 'new'
  #error: unknown
  #reader: CollectingReader | undefined
  /** Items that were taken from the reader, and which is next. */
  #items: readonly PolledEvent[] = []
  #next = 0
  /** Settles when the requests so far are answered. */
  #answered: Promise<unknown> = Promise.resolve()
  #wake: () => void = () => undefined

  constructor(
    params: ReadParams,
    registry: ChannelRegistry,
    signal: AbortSignal | undefined,
    track: (iteration: Iteration, open: boolean) => void,
  ) {
    this.#params = params
    this.#registry = registry
    this.#signal = signal
    this.#track = track
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<Item> {
    const item = this.#answered.then(() => this.#take())
    this.#answered = item.catch(() => undefined)
    return item
  }

  return(): Promise<Item> {
    this.#end('ended')
    return Promise.resolve(DONE)
  }

  throw(error: unknown): Promise<Item> {
    this.#end('ended')
    return Promise.reject(error)
  }

  /** Ends the iteration: the next request for an item is rejected. Items that were not requested are dropped. */
  fail(error: unknown): void {
    if (this.#state === 'failed' || this.#state === 'ended') return
    this.#error = error
    this.#end('failed')
  }

  async #take(): Promise<Item> {
    if (this.#state === 'new') this.#begin()
    for (;;) {
      if (this.#state === 'failed') {
        this.#state = 'ended'
        throw this.#error
      }
      if (this.#state === 'ended') return DONE
      const item = this.#items[this.#next++]
      if (item !== undefined) return { done: false, value: item }
      this.#next = 0
      this.#items = this.#reader?.take() ?? []
      if (this.#items.length > 0) continue
      if (this.#reader?.ended) {
        this.#end('ended')
        return DONE
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #begin(): void {
    this.#state = 'open'
    this.#track(this, true)
    const signal = this.#signal
    if (signal?.aborted) this.fail(signal.reason)
    if (this.#state !== 'open') return
    signal?.addEventListener('abort', this.#onAbort)
    this.#registry.acquire(this.#params.names, this.#params.cursor).then(
      (channels) => this.#onOpen(channels),
      (error: unknown) => this.fail(error),
    )
  }

  #onOpen(channels: readonly Channel[]): void {
    const release = (): void => this.#registry.release(channels)
    if (this.#state !== 'open') {
      release()
      return
    }
    const { cursor, earliest } = this.#params
    const starts = resumePositions(channels, cursor, earliest)
    this.#reader = new CollectingReader(starts, { onReaderClosed: release }, BOUNDS, () => this.#wake())
    this.#reader.begin()
  }

  readonly #onAbort = (): void => this.fail(this.#signal?.reason)

  #end(state: 'failed' | 'ended'): void {
    this.#state = state
    this.#items = []
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#track(this, false)
    this.#reader?.close()
    this.#wake()
  }
}

function closedError(): BrokerError {
  return new BrokerError('ERR_SSE_CLOSED', 'The multiplexer was closed')
}
