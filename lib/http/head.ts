/** The methods of a response that set the head of a stream. */
interface Head {
  statusCode: number
  setHeader(name: string, value: string): unknown
  hasHeader(name: string): boolean
  removeHeader(name: string): unknown
}

/**
 * Sets the status and the headers of a stream (WHATWG HTML 9.2; Cache-Control: RFC 9111). `no-transform` turns off
 * compressing middleware and proxies, `X-Accel-Buffering` turns off nginx's buffering. These three headers replace
 * those of the application, because a stream that has another type or is cached, transformed or buffered does not work.
 * `Content-Length` is removed. All other headers stay. Node sets `Connection`, because it depends on the client, the
 * server and the application.
 */
export function setHead(res: Head): void {
  res.statusCode = 200
  if (res.hasHeader('Content-Length')) res.removeHeader('Content-Length')
  res.setHeader('Content-Type', 'text/event-stream')
  res.setHeader('Cache-Control', 'private, no-store, no-transform')
  res.setHeader('X-Accel-Buffering', 'no')
}
