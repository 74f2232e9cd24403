/** The kit on Redis: streams, publishing over HTTP, and publishing from within. Without streams it is just a publisher. */
import express from 'express'
import { optionsOf } from '../harness/processes.mjs'
import { eventText, publishOnOrder } from '../load/pace.mjs'
import { fullKit } from './full-kit.mjs'

const { redis, channels = 1 } = optionsOf()
const multiplexer = fullKit(redis)

const server = express()
  .get(
    '/',
    multiplexer.stream((req) => `bench:${req.query.channel ?? 0}`),
  )
  .post('/pub', express.text(), async (req, res) => {
    await multiplexer.publish('bench:0', { event: 'message', data: req.body })
    res.status(202).end()
  })
  .listen(0, '127.0.0.1', async () => {
    await multiplexer.ping()
    process.send({ type: 'listening', port: server.address().port, pids: [process.pid] })
  })

// As with nginx: a connection that does not publish for a while is kept.
server.keepAliveTimeout = 3_600_000
process.on('disconnect', () => process.exit())
publishOnOrder((number) =>
  multiplexer.publish(`bench:${number % channels}`, { event: 'message', data: eventText(number) }),
)
