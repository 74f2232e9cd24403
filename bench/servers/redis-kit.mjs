/** The kit on Redis: streams, publishing over HTTP, and in-process publishing. Without streams: only a publisher. */
import { createServer } from 'node:http'
import express from 'express'
import { optionsOf } from '../harness/processes.mjs'
import { eventText, publishOnOrder } from '../load/pace.mjs'
import { fullKit } from './full-kit.mjs'

const {
  redis,
  channels = 1,
  /** Posts are read by Node alone, in front of Express. */
  pastExpress = false,
} = optionsOf()
const multiplexer = fullKit(redis)

const app = express()
  .get(
    '/',
    multiplexer.stream((req) => `bench:${req.query.channel ?? 0}`),
  )
  .post('/pub', express.text(), async (req, res) => {
    await multiplexer.publish('bench:0', { event: 'message', data: req.body })
    res.status(202).end()
  })

const server = createServer((req, res) => {
  if (pastExpress && req.method === 'POST' && req.url === '/pub') void publishPosted(req, res)
  else app(req, res)
}).listen(0, '127.0.0.1', async () => {
  await multiplexer.ping()
  process.send({ type: 'listening', port: server.address().port, pids: [process.pid] })
})

async function publishPosted(req, res) {
  const chunks = []
  for await (const chunk of req) chunks.push(chunk)
  await multiplexer.publish('bench:0', { event: 'message', data: Buffer.concat(chunks).toString() })
  res.writeHead(202).end()
}

// Like nginx: a connection that does not publish for a while is kept.
server.keepAliveTimeout = 3_600_000
process.on('disconnect', () => process.exit())
publishOnOrder((number, due) =>
  multiplexer.publish(`bench:${number % channels}`, { event: 'message', data: eventText(number, due) }),
)
