import { expect } from 'chai'
import type { StreamLimitsOptions } from '../../../lib/limits/streams/options.js'
import { FakeClock } from '../../helpers/fake-clock.js'
import { createStreamLimits } from '../../helpers/internals.js'
import { owner, refusalOf, streamLimitsSuite, TestStream } from '../../suites/stream-limits.js'

describe('stream limits in one process', () => {
  streamLimitsSuite(() => ({}))

  it('let a user open opensPerMinute streams per minute', async () => {
    const clock = new FakeClock()
    const limits = createStreamLimits({ opensPerMinute: 6, clock })
    const open = async (): Promise<unknown> => {
      try {
        return (await TestStream.open(limits, owner('ada'))).lease?.release()
      } catch (error) {
        return (error as { headers: Record<string, string> }).headers['Retry-After']
      }
    }
    for (let opened = 0; opened < 6; opened++) expect(await open()).to.equal(undefined)
    expect(await open()).to.equal('10')
    clock.advance(9000)
    expect(await open()).to.equal('1')
    clock.advance(1000)
    expect([await open(), await open()]).to.deep.equal([undefined, '10'])
    expect(clock.pending).to.equal(0)
  })

  it('are 20 per user and 2,000 per tenant by default', async () => {
    const limits = createStreamLimits()
    for (let index = 0; index < 2000; index++) await TestStream.open(limits, owner(`user${Math.floor(index / 20)}`))
    expect(await refusalOf(TestStream.open(limits, owner('user0')))).to.include({ scope: 'user', cap: 20 })
    expect(await refusalOf(TestStream.open(limits, owner('new')))).to.include({ scope: 'tenant', cap: 2000 })
    await limits.close()
  })

  it('count one stream, or one opening, if the limit is 1', async () => {
    const { auth } = owner('ada')
    const ip = '192.0.2.1'
    for (const [scope, options, who] of [
      ['user', { perUser: 1 }, { auth, ip }],
      ['tenant', { perTenant: 1 }, { auth, ip }],
      ['ip', { perIp: 1 }, { auth: undefined, ip }],
      ['opens', { opensPerMinute: 1 }, { auth, ip }],
      ['opens', { opensPerMinute: 1 }, { auth: undefined, ip }],
    ] as const) {
      const limits = createStreamLimits(options)
      await TestStream.open(limits, who)
      expect(await refusalOf(TestStream.open(limits, who)), scope).to.include({ scope })
      await limits.close()
    }
  })

  const refused: Record<string, unknown> = {
    'a limit below 0': { perUser: -1 },
    'a limit that is not a whole number': { perTenant: 1.5 },
    'a limit that is text': { perIp: '5' },
    'half a process': { perProcess: 0.5 },
    'more than one opening per ms': { opensPerMinute: 60_001 },
    'a lease under a second': { leaseMs: 999 },
    'a lease over an hour': { leaseMs: 3_600_001 },
    'a time-out of 0': { timeoutMs: 0 },
    'an unknown onError': { onError: 'maybe' },
    'eviction without a limit': { evictOldest: true, perUser: 0 },
    'eviction as text': { evictOldest: 'yes' },
    'a prefix that is not text': { prefix: 7 },
    'a redis that is not a URL': { redis: 'localhost' },
  }
  for (const [what, options] of Object.entries(refused)) {
    it(`are refused at construction: ${what}`, () => {
      expect(() => createStreamLimits(options as StreamLimitsOptions))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    })
  }
})
