/** The least that a stream can cost in Node: a socket without an HTTP server. It answers whatever it is sent. */
import { createServer } from 'node:net'
import { listening } from '../harness/driver.mjs'

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n'

const server = createServer((socket) => {
  socket.once('data', () => socket.write(HEAD))
  socket.on('error', () => undefined)
})
server.listen(0, '127.0.0.1', 4096, () => listening(server.address().port, () => undefined))
