import diagnosticsChannel from 'node:diagnostics_channel'
import { expect } from 'chai'
import { createMultiplexer, diagnostics, diagnosticsChannels } from '../../lib/index.js'

describe('diagnostics', () => {
  it('exports the names of its channels, and the channels', () => {
    expect(Object.keys(diagnostics)).to.deep.equal(Object.keys(diagnosticsChannels))
    for (const [key, name] of Object.entries(diagnostics)) {
      expect(name).to.match(/^express-sse-kit(:[a-z]+)+$/)
      expect(diagnosticsChannel.channel(name)).to.equal(diagnosticsChannels[key as keyof typeof diagnosticsChannels])
    }
    expect(diagnostics.brokerError).to.equal('express-sse-kit:broker:error')
  })

  it('publishes messages to subscribers of a name', async () => {
    const messages: unknown[] = []
    const onPublish = (message: unknown, name: string | symbol): void => void messages.push([name, message])
    diagnosticsChannel.subscribe(diagnostics.publishEnd, onPublish)
    const multiplexer = createMultiplexer()
    await multiplexer.publish('orders', { data: 1 })
    diagnosticsChannel.unsubscribe(diagnostics.publishEnd, onPublish)
    await multiplexer.publish('orders', { data: 2 })
    await multiplexer.close()
    expect(messages).to.deep.equal([[diagnostics.publishEnd, { channel: 'orders', events: 1, error: undefined }]])
  })
})
