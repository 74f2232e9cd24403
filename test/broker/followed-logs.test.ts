import { expect } from 'chai'
import { FollowedLogs } from '../../lib/broker/redis/followed-logs.js'
import { diagnosticsChannels } from '../../lib/index.js'
import { FakeClock } from '../helpers/fake-clock.js'

const TTL_MS = 64_000

describe('the logs that a process follows', () => {
  let clock: FakeClock
  let refreshed: string[]
  let refresh: (channel: string) => Promise<unknown>
  let logs: FollowedLogs

  beforeEach(() => {
    clock = new FakeClock()
    refreshed = []
    refresh = async (channel) => refreshed.push(channel)
    logs = new FollowedLogs(TTL_MS, clock, (channel) => refresh(channel))
  })
  afterEach(() => logs.close())

  async function pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 1000) {
      clock.advance(1000)
      await new Promise(setImmediate)
    }
  }

  it('need one timer, and none once there are no logs', async () => {
    logs.add('a')
    logs.add('b')
    expect(clock.pending).to.equal(1)
    logs.delete('a')
    logs.delete('b')
    await pass(TTL_MS)
    expect(clock.pending).to.equal(0)
    logs.add('c')
    await pass(TTL_MS)
    expect(refreshed).to.include('c')
  })

  it('are each refreshed several times within their time to live', async () => {
    for (let n = 0; n < 40; n++) logs.add(`${n}`)
    await pass(TTL_MS)
    for (let n = 0; n < 40; n++) expect(refreshed.filter((channel) => channel === `${n}`).length).to.be.within(3, 5)
  })

  it('are refreshed again after a failure, which is reported', async () => {
    const reported: unknown[] = []
    const onError = (message: unknown): void => void reported.push(message)
    diagnosticsChannels.brokerError.subscribe(onError)
    try {
      logs.add('a')
      refresh = async () => Promise.reject(new Error('lost'))
      await pass(TTL_MS / 4)
      expect(reported).to.have.length.above(0)
      for (const message of reported) expect(message).to.have.property('operation', 'refresh')
      refresh = async (channel) => refreshed.push(channel)
      await pass(TTL_MS / 4)
      expect(refreshed).to.include('a')
    } finally {
      diagnosticsChannels.brokerError.unsubscribe(onError)
    }
  })

  it('are not refreshed after close', async () => {
    logs.add('a')
    logs.close()
    logs.add('b')
    await pass(TTL_MS)
    expect([refreshed, clock.pending]).to.deep.equal([[], 0])
  })
})
