import { expect } from 'chai'
import { ProcessMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { PollAnswer } from '../../lib/wire/contract.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve } from '../helpers/http-server.js'
import { UnrulyBroker } from '../helpers/unruly-broker.js'

describe('a short poll whose history cannot be read', () => {
  it('is answered after 5 s, with the cursor that it began with', async () => {
    const clock = new FakeClock()
    const broker = new UnrulyBroker()
    const { epoch } = await broker.publish('log', encodePublished({ data: 1 }))
    const multiplexer = new ProcessMultiplexer(broker, { tailEntries: 0, lingerMs: 0 }, clock)
    const poll = multiplexer.poll(() => 'log')
    const server = await serve((req, res) => void poll(req, res, (error) => res.writeHead(500).end(String(error))))
    const polling = fetch(`${server.url}/?from=earliest`)
    await eventually(() => broker.calls.reads === 1)
    clock.advance(5000)
    const answer = (await (await polling).json()) as PollAnswer
    expect(answer).to.include({ cursor: `${epoch}-0`, stream: true, afterMs: 5000 })
    expect(answer.events).to.deep.equal([])
    expect(multiplexer.status().channels).to.equal(0)
    await multiplexer.close()
    await server.stop()
  })
})
