/** A kit process under a load for a long time: streams over HTTP, events that it publishes itself, and its state. */
import express from 'express'
import { optionsOf } from '../harness/processes.mjs'
import { eventText, nowMicros } from '../load/pace.mjs'
import { fullKit } from './full-kit.mjs'

const { redis, channels, rate } = optionsOf()
const multiplexer = fullKit(redis, { maxAgeMs: 60_000 })
const PERIOD_MS = 20

const server = express()
  .get(
    '/',
    multiplexer.stream((req) => `bench:${req.query.channel}`),
  )
  .listen(0, '127.0.0.1', async () => {
    await multiplexer.ping()
    setInterval(publish, PERIOD_MS)
    process.send({ type: 'listening', port: server.address().port })
  })

let number = 0
let failed = 0

function publish() {
  for (let i = 0; i < (rate * PERIOD_MS) / 1000; i++) {
    const channel = `bench:${Math.floor(Math.random() * channels)}`
    const event = { event: 'message', data: eventText(number++, nowMicros()) }
    multiplexer.publish(channel, event).catch(() => failed++)
  }
}

process.on('disconnect', () => process.exit())
process.on('message', ({ type }) => {
  if (type !== 'state') return
  for (let i = 0; i < 4; i++) globalThis.gc()
  process.send({
    type: 'state',
    rss: process.memoryUsage.rss(),
    heap: process.memoryUsage().heapUsed,
    handles: process.getActiveResourcesInfo().length,
    streams: multiplexer.status().streams,
    failed,
  })
})
