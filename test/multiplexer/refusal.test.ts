import { expect } from 'chai'
import { BrokerError } from '../../lib/core/errors.js'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { serve } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('refuseWith: stream', () => {
  it('also answers with a stream that ends if channelsOf finds the broker unavailable', async () => {
    const multiplexer = createMultiplexer({ stream: { refuseWith: 'stream' } })
    const handler = multiplexer.stream(async () => {
      throw new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', 'Redis is not reachable')
    })
    const server = await serve((req, res) => void handler(req, res, (error) => res.destroy(error as Error)))
    try {
      const client = await SseClient.open(server.url)
      expect(client.status).to.equal(200)
      expect(JSON.parse((await client.control('sse.reconnect')).data)).to.include({ reason: 'unavailable' })
      await client.ended()
    } finally {
      await multiplexer.close()
      await server.stop()
    }
  })
})
