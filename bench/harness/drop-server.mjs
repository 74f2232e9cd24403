/** Shared by the Node servers of `drops`: a fixed port, `POST /pub`, and an orderly end on SIGTERM. */
import { createServer } from 'node:http'
import express from 'express'
import { optionsOf } from './processes.mjs'

/** Events that each contestant keeps, if it keeps any: more than are published while a client is away. */
export const HISTORY = 10_000
/** Large enough for all clients at once. */
const BACKLOG = 4096

/**
 * @param stream handles `GET /`; absent: the server's own clients do not use Express
 * @param publish sends an event to all clients; resolves when it is done
 * @param prepare attaches to the HTTP server before it listens
 * @param stop ends everything on SIGTERM
 */
export function serveDrops({ stream, publish, prepare = () => undefined, stop = closeAll }) {
  const app = express().post('/pub', express.json(), async (req, res) => {
    await publish(req.body)
    res.status(202).end()
  })
  if (stream) app.get('/', stream)
  const server = createServer(app)
  prepare(server)
  server.listen({ port: optionsOf().port, host: '127.0.0.1', backlog: BACKLOG }, () =>
    process.send({ type: 'listening' }),
  )
  process.once('SIGTERM', async () => {
    await stop(server)
    process.exit()
  })
  process.on('disconnect', () => process.exit())
}

/** For libraries without a way to shut down. Their streams never end by themselves. */
function closeAll(server) {
  server.close()
  server.closeAllConnections()
}
