import type { Auth } from '../core/auth.js'
import { addressOf } from './address.js'
import { authOf } from './auth-of.js'
import type { AnyRequest } from './exchange.js'

/** A request that may have passed `authenticate()`. */
export type StreamRequest = AnyRequest & {
  /** The user of the request. `undefined`: `authenticate()` has not run, or nobody is signed in. */
  readonly auth?: Auth | undefined
}

/** Who sends a request: what limits and pacing count by. */
export interface Requester {
  readonly auth?: Auth | undefined
  /** `undefined`: unknown; see `addressOf`. */
  readonly ip?: string | undefined
  /** The HTTP/2 session. `undefined` on HTTP/1. */
  readonly session?: object | undefined
}

/**
 * The requester of an HTTP request. The address is looked up on each access, because a lookup is expensive: Express
 * goes through all proxies, and a socket keeps its address in memory once it has been read. This is a class because an
 * object literal with getters costs as much as the lookup (bench `join`).
 */
export class HttpRequester implements Requester {
  readonly #req: object

  constructor(req: object) {
    this.#req = req
  }

  get auth(): Auth | undefined {
    return authOf(this.#req)
  }

  get ip(): string | undefined {
    return addressOf(this.#req)
  }

  get session(): object | undefined {
    const { stream } = this.#req as { readonly stream?: { readonly session?: object | undefined } }
    return stream?.session
  }
}
