import { CALLBACK_TIMEOUT_MS, invalidResult, settle } from '../core/callbacks.js'
import type { Clock } from '../core/clock.js'
import { BrokerError, SseError } from '../core/errors.js'
import type { KeyValueStore } from './store.js'

/**
 * Guards a store that the application gave: an operation fails after 10 s, and a result of the wrong type is an error.
 * The application closes the store.
 */
export function boundedStore(store: KeyValueStore, clock: Clock): KeyValueStore {
  async function run<T>(
    name: keyof KeyValueStore,
    call: () => Promise<T>,
    isValid: (value: unknown) => boolean,
  ): Promise<T> {
    const value = await settle(`store.${name}`, call, { clock, timeoutMs: CALLBACK_TIMEOUT_MS }).catch(asBrokerError)
    if (isValid(value)) return value
    throw invalidResult(`store.${name}`, 'resolved to a value of the wrong type; see KeyValueStore')
  }
  return {
    get: (keys) =>
      run(
        'get',
        () => store.get(keys),
        (values) => Array.isArray(values) && values.length === keys.length && values.every(isTextOrNone),
      ),
    set: (key, value, ttlMs) => run('set', () => store.set(key, value, ttlMs), isAnything),
    claim: (key, value, ttlMs) => run('claim', () => store.claim(key, value, ttlMs), isBoolean),
    take: (key) => run('take', () => store.take(key), isTextOrNone),
    delete: (key) => run('delete', () => store.delete(key), isAnything),
    close: () => store.close(),
  }
}

function asBrokerError(error: unknown): never {
  if (!(error instanceof SseError) || error.code !== 'ERR_SSE_CALLBACK_TIMEOUT') throw error
  throw new BrokerError('ERR_SSE_BROKER_TIMEOUT', error.message)
}

function isTextOrNone(value: unknown): boolean {
  return value === undefined || typeof value === 'string'
}

function isBoolean(value: unknown): boolean {
  return typeof value === 'boolean'
}

function isAnything(): boolean {
  return true
}
