import { expect } from 'chai'
import jwt from 'jsonwebtoken'
import supertest from 'supertest'
import type { Revocation, RevocationSelector, RevocationsOptions } from '../../lib/auth/revocations.js'
import type { Auth } from '../../lib/core/auth.js'
import type { Clock } from '../../lib/core/clock.js'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { authenticate } from '../../lib/routers/authenticate.js'
import { createStore } from '../../lib/store/create.js'
import type { KeyValueStore } from '../../lib/store/store.js'
import { eventually } from '../helpers/eventually.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { createRevocations, type Revocations } from '../helpers/internals.js'
import { RedisServer } from '../helpers/redis-server.js'

const SECRET = 'a secret of thirty-two bytes or more'

/** A clock whose methods are own properties. */
function clockOf(clock: Clock): Clock {
  return { now: () => clock.now(), wallTime: () => clock.wallTime(), after: (ms, call) => clock.after(ms, call) }
}

describe('revocations', () => {
  let clock: FakeClock
  let store: KeyValueStore
  /** The keys of each read of the store. */
  let reads: (readonly string[])[]
  let revocations: Revocations

  beforeEach(() => {
    clock = new FakeClock()
    reads = []
    store = createStore({ clock })
    const { get } = store
    store.get = (keys) => {
      reads.push(keys)
      return get.call(store, keys)
    }
    revocations = start()
  })

  afterEach(async () => {
    await store.close()
    expect(clock.pending).to.equal(0)
  })

  function start(options: Partial<RevocationsOptions> = {}): Revocations {
    return createRevocations({ store, clock, cacheMs: 0, clockToleranceMs: 0, ...options })
  }

  /** A token issued so many ms from now. */
  function auth(user: string, tenant = 'acme', issuedInMs = -10_000, claims: object = {}): Auth {
    const iat = Math.floor((clock.wallTime() + issuedInMs) / 1000)
    return { user, tenant, expiresAt: clock.wallTime() + 60_000, claims: { iat, ...claims } }
  }

  /** A stream that is watched by revocations. */
  function watched(by: Revocations, of: Auth): { auth: Auth; closed: string[]; close(reason: string): void } {
    const closed: string[] = []
    const stream = { auth: of, closed, close: (reason: string) => void closed.push(reason) }
    by.watch(stream)
    return stream
  }

  async function reportedBy(revoke: () => Promise<void>): Promise<Revocation[]> {
    const reported: Revocation[] = []
    const stop = revocations.onRevoke((revocation) => reported.push(revocation))
    await revoke()
    stop()
    return reported
  }

  /** Functions, because the clock of a test dates the tokens. */
  const cases: readonly (readonly [string, RevocationSelector, () => Auth[], () => Auth[]])[] = [
    ['a user', { user: 'ada', tenant: 'acme' }, () => [auth('ada')], () => [auth('bob'), auth('ada', 'globex')]],
    ['a tenant', { tenant: 'acme' }, () => [auth('ada'), auth('bob')], () => [auth('ada', 'globex')]],
    [
      'a token',
      { tokenId: 't1' },
      () => [auth('ada', 'acme', -1000, { jti: 't1' }), auth('ada', 'acme', 60_000, { jti: 't1' })],
      () => [auth('ada'), auth('ada', 'acme', -1000, { jti: 't2' }), auth('ada', 'acme', -1000, { jti: 1 })],
    ],
  ]
  for (const [what, selector, revokedOf, othersOf] of cases) {
    it(`of ${what} affect no others, in every process`, async () => {
      const [revoked, others, other] = [revokedOf(), othersOf(), start()]
      for (const each of [...revoked, ...others]) expect(await other.isRevoked(each)).to.equal(false)
      const streams = [...revoked, ...others].map((each) => watched(other, each))
      const [revocation] = await reportedBy(() => revocations.revoke(selector))
      expect(revocation).to.deep.equal({ ...selector, at: clock.wallTime() })
      for (const each of revoked) expect(await other.isRevoked(each), JSON.stringify(each)).to.equal(true)
      for (const each of others) expect(await other.isRevoked(each), JSON.stringify(each)).to.equal(false)
      expect([...(await other.revokedAmong([...revoked, ...others]))]).to.deep.equal(revoked)
      // Another process receives the revocation.
      other.apply(JSON.parse(JSON.stringify(revocation)))
      expect(streams.map(({ closed }) => closed)).to.deep.equal([
        ...revoked.map(() => ['revoked']),
        ...others.map(() => []),
      ])
      for (const stream of streams) other.unwatch(stream)
    })
  }

  it('refuse tokens that were issued earlier, and those without iat, but none that were issued later', async () => {
    clock.advance(500)
    const [revocation] = await reportedBy(() => revocations.revoke({ user: 'ada', tenant: 'acme' }))
    const undated = { ...auth('ada'), claims: {} }
    const sameSecond = auth('ada', 'acme', 0)
    clock.advance(500)
    const later = auth('ada', 'acme', 0)
    for (const [each, revoked] of [
      [auth('ada', 'acme', -86_400_000), true],
      [undated, true],
      [{ ...undated, claims: { iat: 'long ago' } }, true],
      [sameSecond, true],
      [later, false],
      [{ ...later, claims: { iat: ((revocation?.at ?? 0) + 1) / 1000 } }, false],
    ] as const) {
      expect(await revocations.isRevoked(each), JSON.stringify(each)).to.equal(revoked)
      const stream = watched(revocations, each)
      if (revocation) revocations.apply(revocation)
      expect(stream.closed).to.have.length(revoked ? 1 : 0)
      revocations.unwatch(stream)
    }
  })

  it('end the streams of this process immediately, and those of others at their next check', async () => {
    const other = start({ checkMs: 25_000 })
    const [here, there, apart] = [
      watched(revocations, auth('ada')),
      watched(other, auth('ada')),
      watched(other, auth('bob')),
    ]
    await revocations.revoke({ user: 'ada', tenant: 'acme' })
    expect(here.closed).to.deep.equal(['revoked'])
    revocations.unwatch(here)
    reads.length = 0
    clock.advance(24_999)
    expect(reads).to.deep.equal([])
    clock.advance(1)
    await new Promise((resolve) => setImmediate(resolve))
    expect(there.closed).to.deep.equal(['revoked'])
    expect(apart.closed).to.deep.equal([])
    expect(reads, 'one call for all streams').to.have.length(1)
    other.unwatch(there)
    // Checks continue while there are streams.
    clock.advance(25_000)
    await new Promise((resolve) => setImmediate(resolve))
    expect(reads).to.have.length(2)
    other.unwatch(apart)
  })

  it('end no stream because the store fails, report the error, and check again', async () => {
    const stream = watched(revocations, auth('ada'))
    const errors: unknown[] = []
    const note = (message: unknown) => errors.push(message)
    diagnostics.storeError.subscribe(note)
    const { get } = store
    store.get = () => Promise.reject(new Error('away'))
    clock.advance(25_000)
    await new Promise((resolve) => setImmediate(resolve))
    diagnostics.storeError.unsubscribe(note)
    expect(errors).to.have.length(1)
    expect(stream.closed).to.deep.equal([])
    store.get = get
    await start().revoke({ tenant: 'acme' })
    clock.advance(25_000)
    await new Promise((resolve) => setImmediate(resolve))
    expect(stream.closed).to.deep.equal(['revoked'])
    revocations.unwatch(stream)
  })

  it('are stored for ttlMs', async () => {
    revocations = start({ ttlMs: 5000 })
    await revocations.revoke({ tenant: 'acme' })
    clock.advance(4999)
    expect(await revocations.isRevoked(auth('ada'))).to.equal(true)
    clock.advance(1)
    expect(await revocations.isRevoked(auth('ada'))).to.equal(false)
  })

  it('read all keys of a token in one call, and again after cacheMs or after a revocation', async () => {
    const [one, two] = [start({ cacheMs: 1000 }), start({ cacheMs: 1000 })]
    const ada = auth('ada', 'acme', -1000, { jti: 't1' })
    expect(await one.isRevoked(ada)).to.equal(false)
    expect(reads.splice(0)).to.deep.equal([['revoked:tenant:acme', 'revoked:user:acme:ada', 'revoked:id:t1']])
    expect(await one.isRevoked(auth('bob'))).to.equal(false)
    expect(reads.splice(0)).to.deep.equal([['revoked:user:acme:bob']])
    await two.revoke({ tenant: 'acme' })
    expect(await one.isRevoked(ada)).to.equal(false)
    expect(reads).to.deep.equal([])
    clock.advance(1000)
    expect(await one.isRevoked(ada)).to.equal(true)
    await two.revoke({ user: 'cyd', tenant: 'globex' })
    expect(await one.isRevoked(auth('cyd', 'globex'))).to.equal(true)
    await two.revoke({ user: 'dan', tenant: 'globex' })
    expect(await one.isRevoked(auth('dan', 'globex'))).to.equal(true)
    await one.isRevoked(auth('eve', 'globex'))
    await two.revoke({ user: 'eve', tenant: 'globex' })
    one.apply({ tenant: 'any', at: 0 })
    expect(await one.isRevoked(auth('eve', 'globex'))).to.equal(true)
  })

  it('do not cache an answer that was requested before a revocation', async () => {
    let answer = (_values: readonly undefined[]): void => expect.fail()
    store.get = () => new Promise((resolve) => (answer = resolve))
    revocations = start({ cacheMs: 1000 })
    const before = revocations.isRevoked(auth('ada'))
    await revocations.revoke({ tenant: 'acme' })
    answer([undefined, undefined])
    expect(await before, 'revoked meanwhile').to.equal(true)
    store.get = async (keys) => keys.map((key) => (key.includes('tenant') ? String(clock.wallTime()) : undefined))
    expect(await revocations.isRevoked(auth('ada'))).to.equal(true)
  })

  describe('with clocks that differ', () => {
    const user = { user: 'ada', tenant: 'acme' }

    /** A token whose issuer's clock is `aheadMs` ahead, issued so many ms from now. */
    function issued(inMs: number, aheadMs = 0): Auth {
      return auth('ada', 'acme', inMs + aheadMs)
    }

    it('refuse tokens issued until clockToleranceMs after them, and none issued later', async () => {
      revocations = createRevocations({ store, clock, cacheMs: 0 })
      await revocations.revoke(user)
      const [ahead, within, beyond] = [issued(-1000, 5000), issued(5000), issued(7000)]
      expect(await revocations.isRevoked(ahead), 'in the future').to.equal(true)
      clock.advance(10_000)
      expect(await revocations.isRevoked(ahead), 'an issuer that is ahead').to.equal(true)
      expect(await revocations.isRevoked(within)).to.equal(true)
      expect(await revocations.isRevoked(beyond)).to.equal(false)
    })

    it('refuse tokens issued before them if the clock of the revoking process is behind', async () => {
      const behind: Clock = { ...clockOf(clock), wallTime: () => clock.wallTime() - 20_000 }
      const revoking = createRevocations({ store, clock: behind, cacheMs: 0, clockToleranceMs: 30_000 })
      await revoking.revoke(user)
      expect(await revocations.isRevoked(issued(-1000))).to.equal(true)
      clock.advance(60_000)
      expect(await revocations.isRevoked(issued(0))).to.equal(false)
    })

    it('refuse revoked tokens issued in the future until that time, and no others', async () => {
      const future = issued(3_600_000)
      expect(await revocations.isRevoked(future)).to.equal(false)
      await revocations.revoke(user)
      clock.advance(3_590_000)
      expect(await revocations.isRevoked(future)).to.equal(true)
      expect(await revocations.isRevoked({ ...future, user: 'bob' })).to.equal(false)
    })

    it('accept an iat in ms', async () => {
      const inMs = (ms: number): Auth => ({ ...issued(0), claims: { iat: clock.wallTime() + ms } })
      const before = inMs(-1)
      await revocations.revoke(user)
      clock.advance(1000)
      expect(await revocations.isRevoked(before)).to.equal(true)
      expect(await revocations.isRevoked(inMs(-1))).to.equal(false)
    })

    it('refuse tokens whose time of issue is unusable', async () => {
      await revocations.revoke(user)
      clock.advance(60_000)
      for (const iat of [undefined, null, '', '2099-01-01', Number.NaN, Number.POSITIVE_INFINITY, -1, 1e300, {}]) {
        expect(await revocations.isRevoked({ ...issued(0), claims: { iat } }), String(iat)).to.equal(true)
      }
    })

    it('refuse a token if the stored value is not a time', async () => {
      for (const value of ['', 'x', 'NaN', '{}', '-1', '1e3']) {
        await store.set('revoked:tenant:acme', value, 1000)
        expect(await revocations.isRevoked(issued(0)), value).to.equal(true)
      }
    })
  })

  describe('that a store has lost', () => {
    const revoked = ['revoked:tenant:globex', 'revoked:user:acme:ada', 'revoked:id:t1']

    async function revokeAll(): Promise<void> {
      await revocations.revoke({ tenant: 'globex' })
      await revocations.revoke({ user: 'ada', tenant: 'acme' })
      await revocations.revoke({ tokenId: 't1' })
      for (const key of revoked) await store.delete(key)
    }

    it('are kept by the process that made them and by those that were notified', async () => {
      const other = start()
      revocations.onRevoke((revocation) => other.apply(revocation))
      await revokeAll()
      for (const each of [revocations, other]) {
        expect(await each.isRevoked(auth('ada'))).to.equal(true)
        expect(await each.isRevoked(auth('eve', 'globex'))).to.equal(true)
        expect(await each.isRevoked(auth('bob', 'acme', 60_000, { jti: 't1' }))).to.equal(true)
        expect([...(await each.revokedAmong([auth('ada'), auth('bob')]))]).to.have.length(1)
      }
    })

    it('are restored, all of them, for their remaining time, when one of them refuses a token', async () => {
      revocations = start({ ttlMs: 60_000 })
      await revokeAll()
      clock.advance(20_000)
      expect(await revocations.isRevoked(auth('ada', 'acme', -60_000))).to.equal(true)
      await new Promise((resolve) => setImmediate(resolve))
      const other = start()
      expect(await other.isRevoked(auth('eve', 'globex', -60_000))).to.equal(true)
      expect(await other.isRevoked(auth('bob', 'acme', 60_000, { jti: 't1' }))).to.equal(true)
      clock.advance(40_000)
      expect(await store.get(revoked)).to.deep.equal([undefined, undefined, undefined])
      expect(await revocations.isRevoked(auth('ada', 'acme', -120_000)), 'forgotten').to.equal(false)
    })

    it('are restored while streams are open, also without a refusal, and do not replace later ones', async () => {
      const stream = watched(revocations, auth('bob'))
      await revokeAll()
      await store.set('revoked:user:acme:ada', '9999999999999', 60_000)
      clock.advance(25_000)
      await new Promise((resolve) => setImmediate(resolve))
      const [tenant, user, token] = await store.get(revoked)
      expect([tenant, token]).to.not.include(undefined)
      expect(user).to.equal('9999999999999')
      revocations.unwatch(stream)
    })

    it('are reported and restored later if the store fails', async () => {
      await revokeAll()
      const errors: unknown[] = []
      const note = (message: unknown) => errors.push(message)
      diagnostics.storeError.subscribe(note)
      const { claim } = store
      store.claim = () => Promise.reject(new Error('away'))
      expect(await revocations.isRevoked(auth('ada'))).to.equal(true)
      await new Promise((resolve) => setImmediate(resolve))
      diagnostics.storeError.unsubscribe(note)
      expect(errors).to.have.length(1)
      store.claim = claim
      expect(await revocations.isRevoked(auth('ada'))).to.equal(true)
      await new Promise((resolve) => setImmediate(resolve))
      expect(await store.get(revoked)).to.not.include(undefined)
    })
  })

  it('made before a watch began are found when it begins', async () => {
    await revocations.revoke({ user: 'ada', tenant: 'acme' })
    expect(() => revocations.assertNotRevoked(auth('ada')))
      .to.throw()
      .with.property('code', 'ERR_SSE_TOKEN_REVOKED')
    revocations.assertNotRevoked(auth('bob'))
    revocations.assertNotRevoked(undefined)
  })

  it('are reported to every listener until it is removed', async () => {
    const calls: string[] = []
    const listener = (): void => void calls.push('same')
    const [first, second] = [revocations.onRevoke(listener), revocations.onRevoke(listener)]
    revocations.onRevoke(() => void calls.push('third'))
    await revocations.revoke({ tenant: 'acme' })
    expect(calls.splice(0)).to.deep.equal(['same', 'same', 'third'])
    first()
    first()
    await revocations.revoke({ tenant: 'acme' })
    expect(calls.splice(0)).to.deep.equal(['same', 'third'])
    second()
    await revocations.revoke({ tenant: 'acme' })
    expect(calls).to.deep.equal(['third'])
  })

  it('are not accepted from another process in an invalid form', () => {
    for (const message of [{}, { tenant: 'acme' }, { tenant: 'acme', at: '5' }, { tenant: 'acme', at: Number.NaN }]) {
      expect(() => revocations.apply(message as Revocation))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    }
  })

  it('read a thousand keys in a call for many streams, each once', async () => {
    const auths = Array.from({ length: 3000 }, (_, index) =>
      auth(`user${index % 100}`, 'acme', -1000, { jti: `t${index}` }),
    )
    await revocations.revoke({ tokenId: 't7' })
    await revocations.revoke({ user: 'user8', tenant: 'acme' })
    const revoked = await revocations.revokedAmong(auths)
    expect(reads.map(({ length }) => length)).to.deep.equal([1000, 1000, 1000, 101])
    expect(new Set(reads.flat()).size).to.equal(3101)
    expect(revoked.size).to.equal(31)
    expect(revoked.has(auths[7] as Auth)).to.equal(true)
  })

  it('distinguish names that look like several, and accept any name', async () => {
    await revocations.revoke({ user: 'b:c', tenant: 'a' })
    await revocations.revoke({ tokenId: 'user:a:b' })
    expect(await revocations.isRevoked(auth('c', 'a:b'))).to.equal(false)
    expect(await revocations.isRevoked(auth('b', 'a'))).to.equal(false)
    expect(await revocations.isRevoked(auth('b:c', 'a', 0, { jti: '\ud800' }))).to.equal(true)
  })

  for (const selector of [
    {},
    { user: 'ada' },
    { user: undefined, tenant: 'acme' },
    { user: '', tenant: 'acme' },
    { tenant: '' },
    { tenant: 7 },
    { tokenId: '' },
    { tokenId: undefined },
  ]) {
    it(`refuse to revoke ${JSON.stringify(selector)} with ${Object.keys(selector).length} members`, async () => {
      const error = await revocations.revoke(selector as RevocationSelector).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(error).to.have.property('code', 'ERR_SSE_OPTION_INVALID')
    })
  }

  it('are refused at construction with invalid options', () => {
    for (const options of [
      { store: {} },
      { store, ttlMs: 0 },
      { store, cacheMs: -1 },
      { store, cacheMs: 60_001 },
      { store, clockToleranceMs: -1 },
    ]) {
      expect(() => createRevocations(options as RevocationsOptions))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    }
  })

  it('apply to all processes on one Redis', async () => {
    const server = await RedisServer.start()
    const stores = [createStore({ redis: server.url }), createStore({ redis: server.url })] as const
    const [one, two] = stores.map((each) => createRevocations({ store: each, clock })) as [Revocations, Revocations]
    await one.revoke({ user: 'ada', tenant: 'acme' })
    expect([await two.isRevoked(auth('ada')), await two.isRevoked(auth('bob'))]).to.deep.equal([true, false])
    await server.down()
    await server.up()
    // Redis has restarted empty. The process that knows the revocation still refuses the token, and restores it.
    const three = createRevocations({ store: stores[1], clock, cacheMs: 0 })
    await eventually(async () => {
      expect(await one.isRevoked(auth('ada'))).to.equal(true)
      return three.isRevoked(auth('ada')).catch(() => false)
    })
    await Promise.all(stores.map((each) => each.close()))
    await server.stop()
  })

  for (const { name, express } of EXPRESS_VERSIONS) {
    describe(`in authenticate on ${name}`, () => {
      let server: TestServer | undefined

      afterEach(async () => {
        await server?.stop()
      })

      async function get(options: object = {}): Promise<supertest.Response> {
        const app = express()
        app.use(authenticate({ secret: SECRET, clock, revocations, ...options }))
        app.use((req, res) => void res.json(req.auth))
        server = await serve(app)
        const { user: sub, tenant, expiresAt, claims } = auth('ada')
        const token = jwt.sign({ ...claims, sub, tenant, exp: Math.floor(expiresAt / 1000) }, SECRET)
        const answer = await supertest(server.url).get('/').auth(token, { type: 'bearer' })
        await server.stop()
        server = undefined
        return answer
      }

      it('refuse a revoked token', async () => {
        expect((await get()).body).to.include({ user: 'ada' })
        await revocations.revoke({ user: 'ada', tenant: 'acme' })
        const answer = await get()
        expect([answer.status, answer.body.code]).to.deep.equal([401, 'ERR_SSE_TOKEN_REVOKED'])
        expect(answer.headers['www-authenticate']).to.equal('Bearer error="invalid_token"')
        expect(answer.headers['content-type']).to.contain('application/problem+json')
      })

      it('fail closed, or open with onRevocationError', async () => {
        store.get = async () => {
          throw new Error('connect ECONNREFUSED 10.0.0.7:6379')
        }
        const refused = await get()
        expect([refused.status, refused.body.code]).to.deep.equal([503, 'ERR_SSE_BROKER_UNAVAILABLE'])
        expect(refused.headers['retry-after']).to.equal('1')
        expect(refused.text).not.to.contain('10.0.0.7')
        expect((await get({ onRevocationError: 'open' })).body).to.include({ user: 'ada' })
      })
    })
  }
})
