import { expect } from 'chai'
import type { StreamLease } from '../../lib/limits/streams/lease.js'
import type { StreamLimitsOptions } from '../../lib/limits/streams/options.js'
import { eventually } from '../helpers/eventually.js'
import { createStreamLimits, type StreamLimits } from '../helpers/internals.js'

/** A request of a signed-in user. */
export function owner(user: string, tenant = 'acme', ip?: string) {
  return { auth: { user, tenant, expiresAt: 0, claims: {} }, ip }
}

let streams = 0

/** A stream that acquires a lease. */
export class TestStream {
  readonly id = `stream${streams++}`
  closed: string | undefined
  lease: StreamLease | undefined
  readonly close = (reason: string): void => {
    this.closed = reason
  }

  /** Opens a stream. @returns the stream, or the limit that refused it */
  static async open(limits: StreamLimits, client: ReturnType<typeof owner> | { ip?: string }): Promise<TestStream> {
    const stream = new TestStream()
    stream.lease = await limits.acquire(client, stream)
    return stream
  }
}

/** The error of a refused stream. Throws if the stream is admitted. */
export async function refusalOf(attempt: Promise<unknown>): Promise<Record<string, unknown>> {
  const outcome = await attempt.then(
    () => ({ code: 'none' }),
    (error: unknown) => error,
  )
  const { code, status, members, headers } = outcome as Record<string, unknown>
  return { code, status, ...(members as object), retryAfter: (headers as Record<string, string>)?.['Retry-After'] }
}

/** The guarantees of stream limits, with and without Redis. */
export function streamLimitsSuite(shared: () => StreamLimitsOptions): void {
  let limits: StreamLimits

  function start(options: StreamLimitsOptions): StreamLimits {
    limits = createStreamLimits({ ...shared(), ...options })
    return limits
  }

  afterEach(async () => {
    await limits.close()
    expect(limits.size).to.equal(0)
  })

  const cases = [
    ['user', { perUser: 2 }, owner('ada'), owner('ada', 'globex')],
    ['tenant', { perTenant: 2 }, owner('ada'), owner('ada', 'globex')],
    ['ip', { perIp: 2 }, { ip: '::ffff:192.0.2.1' }, { ip: '192.0.2.2' }],
  ] as const
  for (const [scope, options, client, another] of cases) {
    it(`admits streams of one ${scope} up to the limit, and more after a release`, async () => {
      start(options)
      const [first] = [await TestStream.open(limits, client), await TestStream.open(limits, client)]
      expect(await refusalOf(TestStream.open(limits, client))).to.deep.equal({
        code: 'ERR_SSE_STREAM_LIMIT',
        status: 429,
        scope,
        cap: 2,
        retryAfter: '10',
      })
      await TestStream.open(limits, another)
      expect(limits.size).to.equal(3)
      first?.lease?.release()
      first?.lease?.release()
      await TestStream.open(limits, client)
      expect(await refusalOf(TestStream.open(limits, client))).to.include({ scope })
      expect(first?.closed).to.equal(undefined)
    })
  }

  it('counts an address for signed-in and anonymous users, IPv4-mapped or not, and IPv6 by its /56', async () => {
    start({ perIp: 2 })
    await TestStream.open(limits, owner('ada', 'acme', '192.0.2.1'))
    await TestStream.open(limits, { ip: '::ffff:192.0.2.1' })
    expect(await refusalOf(TestStream.open(limits, owner('bob', 'globex', '192.0.2.1')))).to.include({ scope: 'ip' })
    await TestStream.open(limits, { ip: '2001:db8:1:100::1' })
    await TestStream.open(limits, { ip: '2001:db8:1:1ff::2' })
    expect(await refusalOf(TestStream.open(limits, { ip: '2001:db8:1:101::3' }))).to.include({ scope: 'ip' })
  })

  it('reads the address only if a limit needs it, and once', async () => {
    let reads = 0
    const from = (auth?: ReturnType<typeof owner>['auth']) => ({
      ...(auth && { auth }),
      get ip() {
        reads++
        return '192.0.2.1'
      },
    })
    start({})
    await TestStream.open(limits, from(owner('ada').auth))
    expect(reads).to.equal(0)
    await TestStream.open(limits, from())
    expect(reads).to.equal(1)
    await limits.close()
    start({ perIp: 2 })
    await TestStream.open(limits, from())
    await TestStream.open(limits, from(owner('ada').auth))
    expect(reads).to.equal(3)
  })

  it('keeps the limit of the process while many acquisitions are in flight', async () => {
    start({ perProcess: 10 })
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, index) => refusalOf(TestStream.open(limits, owner(`user${index}`)))),
    )
    const refused = outcomes.filter(({ code }) => code !== 'none')
    expect(refused).to.have.length(40)
    expect(refused[0]).to.include({ scope: 'process', cap: 10 })
    expect(limits.size).to.equal(10)
  })

  it('admits exactly as many concurrent streams as the limit allows', async () => {
    start({ perUser: 7 })
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, () => refusalOf(TestStream.open(limits, owner('ada')))),
    )
    expect(outcomes.filter(({ code }) => code === 'none')).to.have.length(7)
  })

  it('takes a place in all scopes or in none', async () => {
    start({ perUser: 3, perTenant: 2, perIp: 4, opensPerMinute: 3 })
    const bob = await TestStream.open(limits, owner('bob', 'acme', '192.0.2.1'))
    await TestStream.open(limits, owner('bob', 'acme', '192.0.2.1'))
    for (let attempt = 0; attempt < 5; attempt++) {
      expect(await refusalOf(TestStream.open(limits, owner('ada', 'acme', '192.0.2.1')))).to.include({
        scope: 'tenant',
      })
    }
    bob.lease?.release()
    // If a refusal had taken a place, the limit of the user, the address or the openings would be exhausted.
    const ada = await TestStream.open(limits, owner('ada', 'acme', '192.0.2.1'))
    ada.lease?.release()
    await TestStream.open(limits, owner('ada', 'acme', '192.0.2.1'))
    await TestStream.open(limits, { ip: '192.0.2.1' })
    await TestStream.open(limits, { ip: '192.0.2.1' })
    expect(await refusalOf(TestStream.open(limits, { ip: '192.0.2.1' }))).to.include({ scope: 'ip' })
  })

  it('limits openings separately, by user, or by address for anonymous clients', async () => {
    start({ opensPerMinute: 3 })
    for (const [client, another] of [
      [owner('ada', 'acme', '192.0.2.1'), owner('bob', 'acme', '192.0.2.1')],
      [{ ip: '192.0.2.1' }, { ip: '192.0.2.2' }],
    ] as const) {
      for (let opened = 0; opened < 3; opened++) (await TestStream.open(limits, client)).lease?.release()
      const refused = await refusalOf(TestStream.open(limits, client))
      expect(refused).to.include({ code: 'ERR_SSE_STREAM_LIMIT', status: 429, scope: 'opens', cap: 3 })
      expect(Number(refused.retryAfter)).to.be.within(1, 20)
      await TestStream.open(limits, another)
    }
  })

  it('allows more openings as time passes, with a Retry-After of at least one second', async () => {
    start({ opensPerMinute: 600, perUser: 0 })
    let refused: Record<string, unknown> = {}
    while (refused.code !== 'ERR_SSE_STREAM_LIMIT') refused = await refusalOf(TestStream.open(limits, owner('ada')))
    expect(refused).to.include({ scope: 'opens', retryAfter: '1' })
    await eventually(async () => (await refusalOf(TestStream.open(limits, owner('ada')))).code === 'none')
  })

  it('does not limit a scope that is 0 or that the request does not have', async () => {
    start({ perUser: 0, perTenant: 0, opensPerMinute: 0 })
    for (let opened = 0; opened < 50; opened++) await TestStream.open(limits, owner('ada', 'acme', '192.0.2.1'))
    for (let opened = 0; opened < 50; opened++) await TestStream.open(limits, {})
    expect(limits.size).to.equal(100)
  })

  it('evicts the oldest stream of the user with evictOldest, and refuses at any other limit', async () => {
    start({ perUser: 2, perTenant: 3, evictOldest: true })
    const first = await TestStream.open(limits, owner('ada'))
    // In another ms, because the oldest stream is determined by time.
    await new Promise((resolve) => setTimeout(resolve, 5))
    const second = await TestStream.open(limits, owner('ada'))
    await TestStream.open(limits, owner('bob'))
    await new Promise((resolve) => setTimeout(resolve, 5))
    // The user and the tenant are at their limits, and the evicted stream counts for both.
    const third = await TestStream.open(limits, owner('ada'))
    expect([first.closed, second.closed, third.closed]).to.deep.equal(['evicted', undefined, undefined])
    expect(limits.size).to.equal(3)
    // The end of the evicted stream releases its lease.
    first.lease?.release()
    expect(await refusalOf(TestStream.open(limits, owner('bob')))).to.include({ scope: 'tenant' })
    expect(await refusalOf(TestStream.open(limits, owner('cyd')))).to.include({ scope: 'tenant' })
    expect([second.closed, third.closed]).to.deep.equal([undefined, undefined])
  })

  it('evicts no stream for a stream that another limit refuses', async () => {
    start({ perUser: 1, perIp: 1, evictOldest: true, opensPerMinute: 2 })
    const first = await TestStream.open(limits, owner('ada', 'acme', '192.0.2.1'))
    await TestStream.open(limits, owner('bob', 'acme', '192.0.2.2'))
    expect(await refusalOf(TestStream.open(limits, owner('ada', 'acme', '192.0.2.2')))).to.include({ scope: 'ip' })
    const second = await TestStream.open(limits, owner('ada', 'acme', '192.0.2.1'))
    expect(await refusalOf(TestStream.open(limits, owner('ada', 'acme', '192.0.2.1')))).to.include({ scope: 'opens' })
    expect([first.closed, second.closed]).to.deep.equal(['evicted', undefined])
  })

  it('ends a stream of this process by its id, once', async () => {
    start({ perUser: 1 })
    const ada = await TestStream.open(limits, owner('ada'))
    expect([limits.evict('other'), limits.evict(ada.id), limits.evict(ada.id)]).to.deep.equal([false, true, false])
    expect(ada.closed).to.equal('evicted')
    await TestStream.open(limits, owner('ada'))
  })

  it('separates owners whose names contain separators', async () => {
    start({ perUser: 1 })
    for (const client of [owner('a:b', 'c'), owner('a', 'b:c'), owner('b', 'c:a'), owner('a%3Ab', 'c')]) {
      await TestStream.open(limits, client)
    }
  })

  it('refuses every stream after close', async () => {
    start({ perUser: 1 })
    const ada = await TestStream.open(limits, owner('ada'))
    await Promise.all([limits.close(), limits.close()])
    expect(await refusalOf(TestStream.open(limits, owner('bob')))).to.include({ code: 'ERR_SSE_CLOSED', status: 503 })
    expect(ada.closed).to.equal(undefined)
    ada.lease?.release()
  })
}
