import { expect } from 'chai'
import { LeaseClock } from '../../../lib/core/lease-clock.js'
import { LimiterConnection } from '../../../lib/limits/requests/limiter-connection.js'
import { eventually } from '../../helpers/eventually.js'
import { FakeClock } from '../../helpers/fake-clock.js'
import { RedisServer } from '../../helpers/redis-server.js'

const TIMEOUT_MS = 250

describe('the connection of request limits', () => {
  let server: RedisServer
  let clock: FakeClock
  let connection: LimiterConnection

  beforeEach(async () => {
    server = await RedisServer.start()
    clock = new FakeClock()
    connection = new LimiterConnection({ redis: server.url, timeoutMs: TIMEOUT_MS, clock: new LeaseClock(clock) })
    await eventually(() => connection.client.status === 'ready')
  })

  afterEach(async () => {
    connection.close()
    await server.stop()
  })

  it('tries again after each failed trial, on the same connection, until Redis answers', async () => {
    let interruptions = 0
    let recoveries = 0
    connection.client.on('close', () => interruptions++)
    connection.onRecovered = () => recoveries++
    server.pause()
    const failed = connection.run(() => connection.client.ping()).catch(({ code }) => code)
    clock.advance(TIMEOUT_MS)
    expect(await failed).to.equal('ERR_SSE_BROKER_TIMEOUT')
    for (let trials = 0; trials < 3; trials++) {
      expect([connection.available, clock.pending]).to.deep.equal([false, 1])
      // The pause, then the time-out of the trial.
      clock.advance(250)
      clock.advance(TIMEOUT_MS)
      await new Promise(setImmediate)
    }
    server.resume()
    clock.advance(250)
    await eventually(() => connection.available)
    expect([recoveries, interruptions]).to.deep.equal([1, 0])
  })
})
