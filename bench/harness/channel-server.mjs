/** A server without history: a stream of each channel, fed by Redis Pub/Sub. */
import express from 'express'
import { Redis } from 'ioredis'
import { listening } from './driver.mjs'
import { optionsOf } from './processes.mjs'

/** @param open opens a stream. Returns the function that sends an event, given its data as JSON */
export function channelServer(open) {
  const { redis } = optionsOf()
  const subscriber = new Redis(redis)
  const streams = new Map()
  subscriber.on('message', (channel, data) => streams.get(channel)?.(data))
  const server = express()
    .get('/', async (req, res) => {
      const channel = `bench:${req.query.channel}`
      await subscriber.subscribe(channel)
      streams.set(channel, await open(req, res))
    })
    .listen(0, '127.0.0.1', () => listening(server.address().port, () => undefined))
}
