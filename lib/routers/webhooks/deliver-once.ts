/**
 * message ─► **deliver once** ─► onMessage: providers deliver at least once, to any process; the handler runs once.
 *
 * ```
 *            claim                     handled
 *   (none) ─────────► processing ─────────────────► done ── dedupTtlMs ──► (none)
 *      ▲                 │ handler failed, or its process died (claimTtlMs)
 *      └─────────────────┘
 * ```
 *
 * Fails closed: where the store cannot say, the message is not handled, and the provider delivers it again.
 */
import { settle } from '../../core/callbacks.js'
import type { Clock } from '../../core/clock.js'
import { diagnostics } from '../../core/diagnostics.js'
import { BrokerError, SseError } from '../../core/errors.js'
import { LeaseClock } from '../../core/lease-clock.js'
import { MemoryStore } from '../../store/memory.js'
import type { KeyValueStore } from '../../store/store.js'

const PROCESSING = 'processing'
const DONE = 'done'
const RETRY_AFTER_S = '10'

export interface DeliverOnceOptions {
  readonly store: KeyValueStore
  readonly dedupTtlMs: number
  readonly claimTtlMs: number
  readonly clock: Clock
}

export class DeliverOnce {
  readonly #options: DeliverOnceOptions
  /** Measures how old a claim is. */
  readonly #leaseClock: LeaseClock
  /**
   * What was handled here while the store could not be told. Without it the next delivery would be handled again, for the
   * claim runs out.
   */
  readonly #unmarked: MemoryStore

  constructor(options: DeliverOnceOptions) {
    this.#options = options
    this.#leaseClock = new LeaseClock(options.clock)
    this.#unmarked = new MemoryStore({ maxEntries: 10_000, clock: options.clock })
  }

  /**
   * Runs `handle`, which errors call `name`, unless the message was handled before, and tells whether it ran.
   * @throws SseError `ERR_SSE_DELIVERY_IN_PROGRESS` while another delivery is being handled
   * @throws BrokerError where the store does not answer
   * @throws whatever `handle` throws; the message can then be delivered again at once
   * @throws SseError `ERR_SSE_CALLBACK_TIMEOUT` if `handle` outlives its claim; it is remembered still if it succeeds later
   */
  async deliver(key: string, handle: () => Promise<void>, name = 'The handler'): Promise<boolean> {
    const { store, claimTtlMs, clock } = this.#options
    if ((await this.#unmarked.get([key]))[0] !== undefined) {
      await this.#mark(key)
      return false
    }
    // Before the command, as the claim may begin to run out before its answer is here.
    const claimedAt = this.#leaseClock.now()
    const claimed = await this.#ask(() => store.claim(key, PROCESSING, claimTtlMs))
    if (!claimed) {
      const [state] = await this.#ask(() => store.get([key]))
      if (state === DONE) return false
      throw new SseError('ERR_SSE_DELIVERY_IN_PROGRESS', 'The message is being handled; deliver it again later', {
        headers: { 'Retry-After': RETRY_AFTER_S },
      })
    }
    const handled = handle()
    try {
      await settle(name, () => handled, { clock, timeoutMs: claimTtlMs })
    } catch (error) {
      // A claim that has run out meanwhile may be another's by now.
      if (this.#leaseClock.now() - claimedAt < claimTtlMs) await this.#release(key)
      else this.#markWhenHandled(key, handled)
      throw error
    }
    await this.#mark(key)
    return true
  }

  close(): Promise<void> {
    return this.#unmarked.close()
  }

  /** Not waited for: whoever delivered it has been told to come again. */
  #markWhenHandled(key: string, handled: Promise<void>): void {
    handled
      .then(
        () => this.#mark(key),
        () => undefined, // The time-out was reported in its place.
      )
      // The router was closed meanwhile.
      .catch((error: unknown) => report('mark a late delivery as done', error))
  }

  /** Does not fail: the message was handled, and an error would only bring it again. */
  async #mark(key: string): Promise<void> {
    const { store, dedupTtlMs } = this.#options
    try {
      await store.set(key, DONE, dedupTtlMs)
      await this.#unmarked.delete(key)
    } catch (error) {
      report('mark a delivery as done', error)
      await this.#unmarked.set(key, DONE, dedupTtlMs)
    }
  }

  /** Does not fail: the claim runs out by itself, only later. */
  async #release(key: string): Promise<void> {
    try {
      await this.#options.store.delete(key)
    } catch (error) {
      report('release a delivery', error)
    }
  }

  /** The provider need not know which store failed, and where it is. */
  async #ask<T>(command: () => Promise<T>): Promise<T> {
    try {
      return await command()
    } catch (cause) {
      report('claim a delivery', cause)
      const code = cause instanceof BrokerError ? cause.code : 'ERR_SSE_BROKER_UNAVAILABLE'
      throw new BrokerError(code as 'ERR_SSE_BROKER_UNAVAILABLE', 'The de-duplication store does not answer', cause)
    }
  }
}

function report(operation: string, error: unknown): void {
  if (diagnostics.storeError.hasSubscribers) diagnostics.storeError.publish({ operation, error })
}
