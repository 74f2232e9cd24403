import { expect } from 'chai'
import { createEventBus, type EventBus, type SharedStream } from '../../lib/client/bus.js'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { eventually } from '../helpers/eventually.js'
import type { TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { serveChannels } from '../suites/multiplexer.js'

describe('the event bus of a page', () => {
  let multiplexer: Multiplexer
  let server: TestServer
  let bus: EventBus
  let url: string
  let opened: number
  let shares: SharedStream[]

  beforeEach(async () => {
    multiplexer = createMultiplexer({ lingerMs: 0, stream: { retryMs: 10 } })
    server = await serveChannels(multiplexer)
    opened = 0
    shares = []
    server.server.on('request', () => opened++)
    url = `${server.url}/?channel=log`
    bus = createEventBus({ lingerMs: 200 })
  })
  afterEach(async () => {
    for (const share of shares) share.close()
    await eventually(() => multiplexer.status().streams === 0)
    await multiplexer.close()
    await server.stop()
  })

  function listen(cursor?: string): { readonly share: SharedStream; readonly seen: (number | string)[] } {
    const seen: (number | string)[] = []
    const share = bus.stream(url, { cursor })
    share.on('n', (event) => void seen.push(event.json() as number))
    share.on('sse.reset', (event) => void seen.push((event.json() as { reason: string }).reason))
    shares.push(share)
    return { share, seen }
  }

  const publish = (from: number, to: number) =>
    multiplexer.publishMany(
      'log',
      range(from, to).map((data) => ({ event: 'n', data })),
    )
  const isOpen = () => eventually(() => bus.status(url).state === 'open')

  it('has one connection for all listeners, and delivers each event to each', async () => {
    const [a, b] = [listen(), listen()]
    await isOpen()
    await publish(1, 3)
    await eventually(() => a.seen.length + b.seen.length === 6)
    expect(a.seen).to.deep.equal([1, 2, 3])
    expect(b.seen).to.deep.equal([1, 2, 3])
    a.share.close()
    a.share.close()
    await publish(4, 4)
    await eventually(() => b.seen.length === 4)
    expect(a.seen).to.have.length(3)
    expect(opened).to.equal(1)
    expect(multiplexer.status().streams).to.equal(1)
  })

  it('keeps the connection for lingerMs after its last listener, then closes it', async () => {
    const first = listen().share
    await isOpen()
    first.close()
    await new Promise((resolve) => setTimeout(resolve, 20))
    const { share, seen } = listen()
    await publish(1, 1)
    await eventually(() => seen.length === 1)
    expect(opened).to.equal(1)
    share.close()
    expect(share.state).to.equal('closed')
    expect(bus.status(url).state).to.equal('open')
    await eventually(() => multiplexer.status().streams === 0)
    expect(bus.status(url)).to.deep.equal({ state: 'closed', reason: 'no stream' })
    listen()
    await isOpen()
    expect(opened).to.equal(2)
  })

  it('replays the events after its cursor, once, to a listener that joins later', async () => {
    const first = await multiplexer.cursor('log')
    const a = listen(first)
    await isOpen()
    await publish(1, 5)
    const fifth = await multiplexer.cursor('log')
    await publish(6, 10)
    await eventually(() => a.seen.length === 10)
    const [b, c, d] = [listen(fifth), listen(first), listen()]
    await publish(11, 12)
    await eventually(() => [a, b, c, d].every(({ seen }) => seen.at(-1) === 12))
    expect(a.seen).to.deep.equal(range(1, 12))
    expect(b.seen).to.deep.equal(range(6, 12))
    expect(c.seen).to.deep.equal(range(1, 12))
    expect(d.seen).to.deep.equal([11, 12])
    expect(d.share.cursor).to.equal(a.share.cursor)
    expect(opened).to.equal(1)
  })

  it('skips events that the cursor of a later listener includes', async () => {
    const a = listen(await multiplexer.cursor('log'))
    await isOpen()
    const [{ epoch } = { epoch: '' }] = await publish(1, 1)
    await eventually(() => a.seen.length === 1)
    const ahead = listen(`${epoch}-3`)
    await publish(2, 5)
    await eventually(() => a.seen.length === 5 && ahead.seen.length > 1)
    expect(ahead.seen).to.deep.equal([4, 5])
  })

  it('delivers each event with the cursor of its listener, also if the listener is ahead in another channel', async () => {
    url = `${server.url}/?channel=x&channel=y`
    const [x, y] = (await multiplexer.cursor(['x', 'y'])).split('.') as [string, string]
    const next = (position: string) => position.replace(/0$/, '1')
    for (const channel of ['y', 'x']) await multiplexer.publish(channel, { event: 'n', data: channel })
    const ids = new Map<string, string[]>()
    for (const cursor of [`${x}.${y}`, `${x}.${next(y)}`]) {
      const share = bus.stream(url, { cursor })
      share.on('n', ({ data, id }) => void ids.set(cursor, [...(ids.get(cursor) ?? []), `${data} ${id}`]))
      shares.push(share)
    }
    await eventually(() => [...ids.values()].flat().length === 3)
    expect(ids.get(`${x}.${y}`)).to.deep.equal([`x ${next(x)}.${y}`, `y ${next(x)}.${next(y)}`])
    expect(ids.get(`${x}.${next(y)}`)).to.deep.equal([`x ${next(x)}.${next(y)}`])
  })

  it('sends sse.reset to a listener that is ahead of the stream in a log that was replaced', async () => {
    await publish(1, 3)
    const ahead = await multiplexer.cursor('log')
    // The stream begins before the first event, from which another log continues without a reset.
    const first = listen(ahead.replace(/3$/, '0'))
    const { share, seen } = listen(ahead.replace(/^\w+/, 'other0').replace(/3$/, '9'))
    await eventually(() => first.seen.length === 3)
    await publish(4, 4)
    await eventually(() => seen.includes(4))
    expect(seen[0]).to.equal('behind')
    expect(share.cursor).to.equal(await multiplexer.cursor('log'))
  })

  it('sends sse.reset with reason behind to a listener with an older cursor, then new events', async () => {
    const old = await multiplexer.cursor('log')
    await publish(1, 5)
    // One listener joins before the stream sent its first position, one after it.
    const [a, early] = [listen(), listen(old)]
    await isOpen()
    const late = listen(old)
    await eventually(() => late.seen.length === 1 && early.seen.length === 1)
    await publish(6, 6)
    await eventually(() => [a, early, late].every(({ seen }) => seen.at(-1) === 6))
    expect(early.seen).to.deep.equal(['behind', 6])
    expect(late.seen).to.deep.equal(['behind', 6])
    expect(a.seen).to.deep.equal([6])
  })

  it('reports the state immediately and on each change, and the worst of several streams', async () => {
    let changes = 0
    const stop = bus.onState(() => changes++)
    const states: string[] = []
    shares.push(bus.stream(url, { onState: ({ state }) => void states.push(state) }))
    await isOpen()
    expect(bus.status().state).to.equal('open')
    shares.push(bus.stream(`${server.url}/nowhere`))
    expect(bus.status().state).to.equal('connecting')
    await eventually(() => shares[1]?.state === 'closed')
    expect(shares[1]?.status.error?.status).to.equal(404)
    expect(states[0]).to.equal('connecting')
    expect(states.at(-1)).to.equal('open')
    expect(changes).to.be.above(3)
    stop()
    // A connection that ended does not count; another listener opens a new one.
    expect(bus.status().state).to.equal('open')
    expect(bus.status(`${server.url}/nowhere`).error?.status).to.equal(404)
    shares.push(bus.stream(`${server.url}/nowhere`))
    expect(bus.status(`${server.url}/nowhere`).state).to.equal('connecting')
    await eventually(() => shares[2]?.state === 'closed')
    expect(opened).to.equal(3)
  })

  it('reconnects for all listeners when one of them calls reconnect()', async () => {
    const { share } = listen()
    await isOpen()
    share.reconnect()
    await eventually(() => opened === 2)
    await isOpen()
  })
})
