/** Whether the client of an exchange takes bytes: what Node's internals show of it. */
import type { Socket } from 'node:net'
import type { Exchange } from '../http/exchange.js'

/** Of Node's sockets. If it is missing, only what Node itself has written counts. */
interface Handle {
  /** Bytes given to the handle since the connection was opened. */
  readonly bytesWritten?: number
  /** Those of them that the kernel has not taken yet. For TLS: encrypted bytes that the parent has not taken yet. */
  readonly writeQueueSize?: number
  /** For TLS: the handle of the TCP connection. */
  readonly _parent?: Handle
}

/**
 * Returns a number that grows when the client takes bytes of this exchange, and only then.
 *
 * On HTTP/1: the bytes that the kernel has taken from the connection. The kernel's buffers are bounded, so the number
 * stops if the client does. Unlike `drain` it also grows during a single large write. On HTTP/2 the streams of a
 * connection share its socket, and each has its own flow-control window, so the number is the bytes that wait in the
 * exchange's own stream, negated.
 */
export function bytesTaken(exchange: Exchange): number {
  const { http2Stream } = exchange
  if (http2Stream !== undefined) return -http2Stream.writableLength
  const socket: Socket & { readonly _handle?: Handle | null } = exchange.socket
  const handle = socket._handle
  if (typeof handle?.bytesWritten !== 'number') return socket.bytesWritten - socket.writableLength
  let taken = handle.bytesWritten
  for (let each: Handle | undefined = handle; each !== undefined; each = each._parent) taken -= each.writeQueueSize ?? 0
  return taken
}
