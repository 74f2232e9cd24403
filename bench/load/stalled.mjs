/** Clients that request a stream and never read: the bytes stay in the kernel until its buffers are full. */
import { connect } from 'node:net'
import { optionsOf } from '../harness/processes.mjs'

const { port, streams } = optionsOf()
const sockets = []

process.on('disconnect', () => process.exit())
process.on('message', () => {
  const bytesRead = sockets.reduce((sum, socket) => sum + socket.bytesRead, 0)
  process.send({ type: 'total', bytesRead })
})

for (let i = 0; i < streams; i++) {
  const socket = connect(port, '127.0.0.1')
  // Before the connection, because otherwise it would read once.
  socket.pause()
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n')
  socket.on('connect', () => {
    if (sockets.push(socket) === streams) {
      process.send({ type: 'ready', ports: sockets.map(({ localPort }) => localPort) })
    }
  })
  // The server may have ended the stream.
  socket.on('error', () => undefined)
}
