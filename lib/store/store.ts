/** A small key-value store with expiry: caches, one-use values, de-duplication. */
export interface KeyValueStore {
  /** The values in the order of the keys; `undefined` where there is none. One round trip. */
  get(keys: readonly string[]): Promise<readonly (string | undefined)[]>
  set(key: string, value: string, ttlMs: number): Promise<void>
  /** Sets only where nothing is set; `true` for exactly one of any number of concurrent callers. */
  claim(key: string, value: string, ttlMs: number): Promise<boolean>
  /** Gets and deletes as one step: exactly one of any number of concurrent callers has the value. */
  take(key: string): Promise<string | undefined>
  delete(key: string): Promise<void>
  /** Idempotent. Closes only what the store opened itself. */
  close(): Promise<void>
}
