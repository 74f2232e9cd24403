/**
 * A small key-value store with expiry, for caches, one-use values and de-duplication. An operation that fails rejects
 * with a `BrokerError`. Every implementation passes `test/suites/store.ts`.
 */
export interface KeyValueStore {
  /** Returns the values in the order of the keys, `undefined` for a key without a value. One round trip. */
  get(keys: readonly string[]): Promise<readonly (string | undefined)[]>
  /** Sets the value. It expires after `ttlMs`, a whole number of ms from 1. */
  set(key: string, value: string, ttlMs: number): Promise<void>
  /** Sets the value if the key has none. Returns `true` to exactly one of several concurrent callers. */
  claim(key: string, value: string, ttlMs: number): Promise<boolean>
  /** Returns and deletes the value as one step: exactly one of several concurrent callers gets it. */
  take(key: string): Promise<string | undefined>
  /** Deletes the value, if there is one. */
  delete(key: string): Promise<void>
  /** Closes the connection that the store opened itself. Later operations reject with `ERR_SSE_CLOSED`. Idempotent. */
  close(): Promise<void>
}
