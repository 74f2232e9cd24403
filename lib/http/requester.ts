import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Auth } from '../core/auth.js'
import { addressOf } from '../http/address.js'
import { authOf } from '../http/auth-of.js'

/** A request of Node's HTTP/1 server or of HTTP/2's compatibility API, as Express passes it or plain. */
export type StreamRequest = (IncomingMessage | Http2ServerRequest) & {
  /** Who the request comes from. `undefined`: `authenticate()` has not run, or the request has no user. */
  readonly auth?: Auth | undefined
}

/** Whom a stream serves. */
interface Client {
  readonly auth?: Auth | undefined
  /** Express knows about trusted proxies; plain Node knows the connection. */
  readonly ip?: string | undefined
}

/**
 * Whom a request comes from. The address is looked up when it is asked for: Express goes through all proxies each time, and a socket
 * keeps for good what it was asked. A class, because an object of its own getters costs as much as the look (bench `join`).
 */
export class Requester implements Client {
  readonly #req: StreamRequest

  constructor(req: StreamRequest) {
    this.#req = req
  }

  get auth(): Auth | undefined {
    return authOf(this.#req)
  }

  get ip(): string | undefined {
    return addressOf(this.#req)
  }

  /** The HTTP/2 session. */
  get session(): object | undefined {
    const req = this.#req
    return 'stream' in req ? req.stream.session : undefined
  }
}

/** What a stream uses of a response. */
export interface StreamResponse {
  /** The application has called `end()`. */
  readonly writableEnded: boolean
  write(chunk: Uint8Array): boolean
  end(): unknown
  on(event: 'drain' | 'finish', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  /** Added by compressing middleware. */
  flush?: () => void
}

/** The two kinds of response that Node makes. */
export type AnyResponse = ServerResponse | Http2ServerResponse
