/** Socket.IO with connection state recovery: in the process, or with its Redis Streams adapter. */
import { createAdapter } from '@socket.io/redis-streams-adapter'
import { Redis } from 'ioredis'
import { Server } from 'socket.io'
import { HISTORY, serveDrops } from '../harness/drop-server.mjs'
import { optionsOf } from '../harness/processes.mjs'

const { redis } = optionsOf()
const client = redis && new Redis(redis)
const io = new Server({
  transports: ['websocket'],
  connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
  adapter: client && createAdapter(client, { maxLen: HISTORY }),
})

serveDrops({
  prepare: (server) => io.attach(server),
  publish: (data) => io.emit('message', data),
  stop: async () => {
    await io.close()
    // Not before the sessions of all clients are written.
    await client?.quit()
  },
})
