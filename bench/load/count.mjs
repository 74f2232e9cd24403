/** The load client: raw sockets that count events. Cheap, so that the server is the bottleneck. */
import { connect } from 'node:net'
import { optionsOf } from '../harness/processes.mjs'
import { onStreamEnd, openTally, roomToOpen } from './tally.mjs'

const {
  port,
  streams,
  requests = ['GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n'],
} = optionsOf()
const count = openTally()
let ready = 0

for (let i = 0; i < streams; i++) {
  await roomToOpen(() => i - ready)
  const socket = connect(port, '127.0.0.1')
  socket.write(requests[i % requests.length])
  socket.once('data', () => {
    if (++ready === streams) process.send({ type: 'ready' })
  })
  socket.on('data', count)
  socket.on('close', onStreamEnd)
}
