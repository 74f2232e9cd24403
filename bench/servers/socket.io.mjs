/** A common alternative to SSE. Only WebSocket, so that there are no initial polling requests. */
import { createServer } from 'node:http'
import { Server } from 'socket.io'
import { listening } from '../harness/driver.mjs'

const server = createServer()
const io = new Server(server, { transports: ['websocket'] })
server.listen(0, '127.0.0.1', () =>
  listening(server.address().port, (_number, data) => {
    io.emit('message', data)
  }),
)
