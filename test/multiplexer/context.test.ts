import { AsyncLocalStorage } from 'node:async_hooks'
import { expect } from 'chai'
import express from 'express'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { EventTracing } from '../../lib/core/tracing.js'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { eventually } from '../helpers/eventually.js'
import { serve } from '../helpers/http-server.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('the async context of a request', () => {
  for (const broker of ['memory', 'redis'] as const) {
    it(`does not reach the events that other requests receive, on ${broker}`, async () => {
      const requests = new AsyncLocalStorage<string>()
      const redis = broker === 'redis' ? await RedisServer.start() : undefined
      const stores: unknown[] = []
      const note = (): void => void stores.push(requests.getStore())
      const channels = [diagnostics.channelDeliver, diagnostics.brokerState, diagnostics.channelRead]
      for (const channel of channels) channel.subscribe(note)
      // The first request opens one connection, and the second request's publish opens the other.
      const multiplexer = requests.run('first', () =>
        createMultiplexer({
          redis: redis?.url,
          tailEntries: 0,
          tracing: new (class extends EventTracing {
            publish = () => undefined
            deliver = note
            acknowledge = note
          })(),
        }),
      )
      const app = express()
        .use((_req, _res, next) => requests.run('stream', next))
        .get(
          '/',
          multiplexer.stream(() => 'log'),
        )
      const server = await serve(app)
      const client = await SseClient.open(server.url)
      await client.control('sse.open')
      for (let i = 0; i < 3; i++) {
        await requests.run(`publisher ${i}`, () => multiplexer.publish('log', { data: i }))
        await client.messagesUntil(i + 1)
      }
      await eventually(() => stores.length >= 6)
      for (const channel of channels) channel.unsubscribe(note)
      client.close()
      await multiplexer.close()
      await server.stop()
      await redis?.stop()
      expect([...new Set(stores)]).to.deep.equal([undefined])
    })
  }
})
