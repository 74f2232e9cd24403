/**
 * message ─► **deliver once** ─► onMessage: providers deliver a message at least once, to any process. The handler runs
 * once for each message.
 *
 * ```
 *            claim                     handled
 *   (none) ─────────► processing ─────────────────► done ── dedupTtlMs ──► (none)
 *      ▲                 │ handler failed, or its process died (claimTtlMs)
 *      └─────────────────┘
 * ```
 *
 * Fails closed: if the store is unavailable, the message is not handled, and the provider delivers it again.
 */
import { settle } from '../../core/callbacks.js'
import type { Clock } from '../../core/clock.js'
import { diagnostics, reportTo } from '../../core/diagnostics.js'
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
  /** Measures the age of a claim. */
  readonly #leaseClock: LeaseClock
  /**
   * Messages that this process has handled, but could not mark as done in the store. Their claims expire, so without
   * this record the next delivery would be handled again.
   */
  readonly #unmarked: MemoryStore

  constructor(options: DeliverOnceOptions) {
    this.#options = options
    this.#leaseClock = new LeaseClock(options.clock)
    this.#unmarked = new MemoryStore({ maxEntries: 10_000, clock: options.clock })
  }

  /**
   * Runs `handle` unless the message was handled before. Returns whether it ran.
   * @param name of the handler, for errors
   * @throws SseError `ERR_SSE_DELIVERY_IN_PROGRESS` while another delivery of the message is handled
   * @throws BrokerError if the store fails or does not answer
   * @throws the error of `handle`; the claim is released, so the message can be delivered again immediately
   * @throws SseError `ERR_SSE_CALLBACK_TIMEOUT` if `handle` takes longer than the claim. If it succeeds later, the
   * message is still marked as done.
   */
  async deliver(key: string, handle: () => Promise<void>, name = 'The handler'): Promise<boolean> {
    const { store, claimTtlMs, clock } = this.#options
    if ((await this.#unmarked.get([key]))[0] !== undefined) {
      await this.#mark(key)
      return false
    }
    // Read before the command: the time to live of the claim may begin before the answer arrives.
    const claimedAt = this.#leaseClock.now()
    const claimed = await this.#run(() => store.claim(key, PROCESSING, claimTtlMs))
    if (!claimed) {
      const [state] = await this.#run(() => store.get([key]))
      if (state === DONE) return false
      throw new SseError('ERR_SSE_DELIVERY_IN_PROGRESS', 'The message is being handled. Deliver it again later.', {
        headers: { 'Retry-After': RETRY_AFTER_S },
      })
    }
    const handled = handle()
    try {
      await settle(name, () => handled, { clock, timeoutMs: claimTtlMs })
    } catch (error) {
      // An expired claim may belong to another process by now.
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

  /** Not awaited: the request is answered with the time-out already. */
  #markWhenHandled(key: string, handled: Promise<void>): void {
    handled
      .then(
        () => this.#mark(key),
        () => undefined, // The time-out was reported instead.
      )
      // The router was closed in the meantime.
      .catch((error: unknown) => reportTo(diagnostics.storeError, 'mark a late delivery as done', error))
  }

  /** Never rejects: the message was handled, and an error would cause another delivery. */
  async #mark(key: string): Promise<void> {
    const { store, dedupTtlMs } = this.#options
    try {
      await store.set(key, DONE, dedupTtlMs)
      await this.#unmarked.delete(key)
    } catch (error) {
      reportTo(diagnostics.storeError, 'mark a delivery as done', error)
      await this.#unmarked.set(key, DONE, dedupTtlMs)
    }
  }

  /** Never rejects: the claim expires anyway, only later. */
  async #release(key: string): Promise<void> {
    try {
      await this.#options.store.delete(key)
    } catch (error) {
      reportTo(diagnostics.storeError, 'release a delivery', error)
    }
  }

  /** The provider must not learn which store failed and where it is, so the error gets another message. */
  async #run<T>(command: () => Promise<T>): Promise<T> {
    try {
      return await command()
    } catch (cause) {
      reportTo(diagnostics.storeError, 'claim a delivery', cause)
      const code = cause instanceof BrokerError ? cause.code : 'ERR_SSE_BROKER_UNAVAILABLE'
      throw new BrokerError(code as 'ERR_SSE_BROKER_UNAVAILABLE', 'The de-duplication store is unavailable', cause)
    }
  }
}
