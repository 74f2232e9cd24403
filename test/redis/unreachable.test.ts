import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { expect } from 'chai'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'

describe('a server that closes every connection at its first command', () => {
  let server: Server

  before(async () => {
    server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.once('data', () => socket.destroy())
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
  })

  after(() => {
    server.close()
  })

  it('is reported as not reachable, because the connection was closed', async () => {
    const { port } = server.address() as AddressInfo
    const multiplexer = createMultiplexer({ redis: `redis://127.0.0.1:${port}`, commandTimeoutMs: 500 })
    const error = await multiplexer.publish('a', { data: 1 }).catch((reason: Error) => reason)
    await multiplexer.close()
    expect(error).to.include({ code: 'ERR_SSE_BROKER_UNAVAILABLE' })
    expect((error as Error).message).to.match(/^Redis is not reachable within \d+ ms: the connection was closed$/)
  })
})
