import { expect } from 'chai'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { eventually } from '../helpers/eventually.js'
import { RedisSentinel } from '../helpers/redis-sentinel.js'
import { SseClient } from '../helpers/sse-client.js'
import { numbersOf, serveChannels } from '../suites/multiplexer.js'

describe('streams, when a sentinel replaces the master', function () {
  this.timeout(60_000)

  const stops: (() => unknown)[] = []

  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop()
  })

  it('continue from the replica: no entry of the log is missing or repeated', async () => {
    const sentinel = await RedisSentinel.start()
    stops.push(() => sentinel.stop())
    const redis = { sentinels: [{ host: '127.0.0.1', port: sentinel.port }], name: 'inbox' }
    const open = async (query: string) => {
      const multiplexer = createMultiplexer({ redis, probeMs: 500 })
      const server = await serveChannels(multiplexer)
      const client = await SseClient.open(`${server.url}/?channel=log&${query}`)
      stops.push(
        () => server.stop(),
        () => multiplexer.close(),
        () => client.close(),
      )
      await client.control('sse.open')
      return { multiplexer, client }
    }
    const [one, two] = [await open(''), await open('')]

    let published = 0
    async function publishOn(count: number): Promise<void> {
      for (const last = published + count; published < last; ) {
        await eventually(() => isPublished(one.multiplexer, published + 1), 30_000)
        published++
      }
    }
    await publishOn(50)
    await Promise.all([sentinel.crash(), publishOn(50)])
    await publishOn(50)

    const replayed = await open('from=earliest')
    for (const { client } of [one, two, replayed]) await client.until((it) => numbersOf(it).at(-1) === published)
    for (const { client } of [one, two]) {
      const numbers = numbersOf(client)
      expect(numbers).to.deep.equal([...new Set(numbers)].sort((a, b) => a - b))
      expect(numbers).to.include.members(numbersOf(replayed.client))
      expect(client.closed).to.equal(false)
    }
    await eventually(() => one.multiplexer.status().state === 'ready')
  })
})

async function isPublished(multiplexer: Multiplexer, n: number): Promise<boolean> {
  try {
    await multiplexer.publish('log', { event: 'n', data: n }, { idempotencyKey: String(n) })
    return true
  } catch {
    // Unavailable or unknown: the key makes a retry safe.
    return false
  }
}
