import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { CloseReason } from '../core/close-reasons.js'
import type { Auth } from '../core/ports.js'

/** A request of Node's HTTP/1 server or of HTTP/2's compatibility API, as Express passes it or plain. */
export type StreamRequest = (IncomingMessage | Http2ServerRequest) & { readonly auth?: Auth | undefined }

/** Whom a stream serves. */
export interface Client {
  readonly auth?: Auth | undefined
  /** Express knows about trusted proxies; plain Node knows the connection. */
  readonly ip?: string | undefined
}

/**
 * The address is looked up when it is asked for: Express goes through all proxies each time, and a socket keeps for good what it was asked.
 */
export function clientOf(req: StreamRequest): Client {
  return {
    auth: req.auth,
    get ip() {
      const ip = 'ip' in req ? req.ip : undefined
      return typeof ip === 'string' ? ip : req.socket.remoteAddress
    },
  }
}

/** The HTTP/2 session a request came in. */
export function sessionOf(req: StreamRequest): object | undefined {
  return 'stream' in req ? req.stream.session : undefined
}

/** As much of the stream on a response as error handling further down needs. */
interface StreamOnResponse {
  readonly id: string
  close(reason?: CloseReason): Promise<void>
}

/** What a stream uses of a response. */
export type StreamResponse = Pick<ServerResponse, 'on' | 'write' | 'end' | 'destroy' | 'setHeader'> & {
  readonly headersSent: boolean
  readonly destroyed: boolean
  statusCode: number
  flushHeaders(): void
  /** Added by compressing middleware. */
  flush?: () => void
  sseStream?: StreamOnResponse
}

/** The two kinds of response that Node makes. */
export type AnyResponse = (ServerResponse | Http2ServerResponse) & { sseStream?: StreamOnResponse }
