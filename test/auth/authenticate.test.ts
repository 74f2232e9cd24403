import { createSecretKey, generateKeyPairSync, type KeyObject, sign as signBytes } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { expect } from 'chai'
import type { ErrorRequestHandler } from 'express'
import fc from 'fast-check'
import jwt from 'jsonwebtoken'
import supertest from 'supertest'
import type { AuthenticateOptions } from '../../lib/auth/options.js'
import { authenticate } from '../../lib/routers/authenticate.js'
import { EXPRESS_VERSIONS } from '../helpers/express-versions.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'

const SECRET = 'a secret of thirty-two bytes or more'
const OTHER_SECRET = 'another secret, of as many bytes too'
const clock = new FakeClock()
const NOW_S = Math.floor(clock.wallTime() / 1000)
const CLAIMS = { sub: 'ada', tenant: 'acme', exp: NOW_S + 60 }

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const publicPem = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString()

/** Built without a library, so that tests can build invalid tokens. */
function encode(header: unknown, payload: unknown, signature = ''): string {
  const part = (value: unknown): string =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
  return `${part(header)}.${part(payload)}.${signature}`
}

function sign(claims: object = CLAIMS, secret: string | KeyObject = SECRET, options: jwt.SignOptions = {}): string {
  return jwt.sign(claims, secret, { noTimestamp: true, ...options })
}

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`authenticate on ${name}`, () => {
    const servers: TestServer[] = []

    afterEach(async () => {
      await Promise.all(servers.splice(0).map((server) => server.stop()))
    })

    /** An app whose route answers with the user, and whose error handler answers that it was called. */
    async function serveAuth(options: Partial<AuthenticateOptions> = {}): Promise<ReturnType<typeof supertest>> {
      const app = express()
      app.use(authenticate({ ...(options.getKey ? {} : { secret: SECRET }), clock, ...options }))
      app.use((req, res) => {
        res.json(req.auth ?? null)
      })
      app.use(((error: Error, _req, res, _next) => {
        res.status(500).json({ handler: error.message })
      }) as ErrorRequestHandler)
      return listen(app)
    }

    async function listen(app: RequestListener): Promise<ReturnType<typeof supertest>> {
      const server = await serve(app)
      servers.push(server)
      return supertest(server.url)
    }

    async function expectCode(test: supertest.Test, status: number, code: string): Promise<supertest.Response> {
      const answer = await test
      expect({ status: answer.status, code: answer.body.code }).to.deep.equal({ status, code })
      expect(answer.headers['content-type']).to.equal('application/problem+json; charset=utf-8')
      expect(answer.headers['cache-control']).to.equal('no-store')
      return answer
    }

    it('accepts a valid token in the Authorization header, with any case of the scheme', async () => {
      const agent = await serveAuth()
      for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
        const answer = await agent.post('/').set('Authorization', `${scheme} ${sign()}`)
        expect(answer.body).to.deep.equal({ user: 'ada', tenant: 'acme', expiresAt: CLAIMS.exp * 1000, claims: CLAIMS })
        expect(answer.headers).not.to.have.property('referrer-policy')
      }
    })

    it('takes user and tenant from the configured claims', async () => {
      const agent = await serveAuth({ userClaim: 'uid', tenantClaim: 'https://acme.example/org' })
      const claims = { uid: 'ada', 'https://acme.example/org': 'acme', exp: CLAIMS.exp }
      const answer = await agent.get('/').auth(sign(claims), { type: 'bearer' })
      expect(answer.body).to.include({ user: 'ada', tenant: 'acme' })
    })

    it('answers a request without a token with a bare challenge', async () => {
      const agent = await serveAuth()
      for (const authorization of [undefined, '', 'Bearer', 'Bearer ', 'Basic YTpi', `Token ${sign()}`]) {
        const test = agent.get('/')
        if (authorization !== undefined) test.set('Authorization', authorization)
        const answer = await expectCode(test, 401, 'ERR_SSE_TOKEN_MISSING')
        expect(answer.headers['www-authenticate']).to.equal('Bearer')
      }
    })

    it('accepts a request without a token if optional, but none with an invalid one', async () => {
      const agent = await serveAuth({ optional: true })
      expect((await agent.get('/')).body).to.equal(null)
      expect((await agent.get('/').auth(sign(), { type: 'bearer' })).body).to.include({ user: 'ada' })
      await expectCode(agent.get('/').auth('garbage', { type: 'bearer' }), 401, 'ERR_SSE_TOKEN_INVALID')
    })

    const bad: Record<string, () => string> = {
      'alg none without a signature': () => encode({ alg: 'none', typ: 'JWT' }, CLAIMS),
      'alg none with a signature': () => encode({ alg: 'none', typ: 'JWT' }, CLAIMS, 'c2lnbmF0dXJl'),
      'alg None': () => encode({ alg: 'None', typ: 'JWT' }, CLAIMS, 'c2lnbmF0dXJl'),
      'an algorithm not accepted, well signed': () => sign(CLAIMS, SECRET, { algorithm: 'HS512' }),
      'another secret': () => sign(CLAIMS, OTHER_SECRET),
      'no signature': () => `${sign().split('.').slice(0, 2).join('.')}.`,
      'a payload changed after signing': () =>
        sign().replace(/\.[^.]+\./, `.${encode('', { ...CLAIMS, sub: 'eve' }).split('.')[1]}.`),
      'a payload that is not an object': () => jwt.sign('"ada"', SECRET),
      'a payload that is null': () => jwt.sign('null', SECRET),
      'a payload that is a list': () => jwt.sign('[1]', SECRET),
      'an nbf in the future': () => sign({ ...CLAIMS, nbf: NOW_S + 10 }),
      'an nbf that is not a number': () => jwt.sign(JSON.stringify({ ...CLAIMS, nbf: 'soon' }), SECRET),
      'a critical extension': () => sign(CLAIMS, SECRET, { header: { alg: 'HS256', crit: ['b64'] } }),
      'a kid that is not a string': () => sign(CLAIMS, SECRET, { header: { alg: 'HS256', kid: {} as string } }),
      'more bytes than maxTokenBytes': () => sign({ ...CLAIMS, pad: 'x'.repeat(8192) }),
      'two parts': () => 'a.b',
      'spaces within': () => sign().replace('.', '. .'),
    }
    for (const [what, token] of Object.entries(bad)) {
      it(`refuses as invalid a token with ${what}`, async () => {
        const answer = await expectCode(
          (await serveAuth()).get('/').set('Authorization', `Bearer ${token()}`),
          401,
          'ERR_SSE_TOKEN_INVALID',
        )
        expect(answer.headers['www-authenticate']).to.equal('Bearer error="invalid_token"')
        expect(JSON.stringify(answer.body)).not.to.contain(token().slice(0, 12))
      })
    }

    const incomplete: Record<string, object> = {
      'no exp': { sub: 'ada', tenant: 'acme' },
      'an exp of null': { ...CLAIMS, exp: null },
      'an exp that is text': { ...CLAIMS, exp: String(CLAIMS.exp) },
      'an exp of 0': { ...CLAIMS, exp: 0 },
      'an exp beyond all clocks': { ...CLAIMS, exp: 1e300 },
      'no sub': { tenant: 'acme', exp: CLAIMS.exp },
      'a sub that is a fraction': { ...CLAIMS, sub: 7.5 },
      'a sub that is too large to be exact': { ...CLAIMS, sub: 2 ** 53 },
      'a sub that is an object': { ...CLAIMS, sub: { toString: 'ada' } },
      'an empty sub': { ...CLAIMS, sub: '' },
      'a sub of 257 characters': { ...CLAIMS, sub: 'x'.repeat(257) },
      'a sub that is half a character': { ...CLAIMS, sub: '\ud800' },
      'no tenant': { sub: 'ada', exp: CLAIMS.exp },
      'a list of tenants': { ...CLAIMS, tenant: ['acme'] },
    }
    for (const [what, claims] of Object.entries(incomplete)) {
      it(`refuses as incomplete a token with ${what}`, async () => {
        // As text, because jsonwebtoken refuses to sign some of these claims.
        const token = jwt.sign(JSON.stringify(claims), SECRET)
        const answer = await expectCode(
          (await serveAuth()).get('/').auth(token, { type: 'bearer' }),
          401,
          'ERR_SSE_TOKEN_CLAIMS',
        )
        expect(answer.headers['www-authenticate']).to.equal('Bearer error="invalid_token"')
      })
    }

    it('does not read an inherited property as a claim', async () => {
      const agent = await serveAuth({ userClaim: 'constructor', tenantClaim: '__proto__' })
      await expectCode(agent.get('/').auth(sign(), { type: 'bearer' }), 401, 'ERR_SSE_TOKEN_CLAIMS')
    })

    it('refuses a token as soon as its exp is reached', async () => {
      const agent = await serveAuth()
      const at = (exp: number): supertest.Test => agent.get('/').auth(sign({ ...CLAIMS, exp }), { type: 'bearer' })
      // The clock is at a full second.
      await expectCode(at(NOW_S), 401, 'ERR_SSE_TOKEN_EXPIRED')
      expect((await at(NOW_S + 1)).status).to.equal(200)
    })

    it('extends exp by the tolerance, also in expiresAt', async () => {
      const agent = await serveAuth({ clockToleranceS: 10 })
      const at = (exp: number): supertest.Test => agent.get('/').auth(sign({ ...CLAIMS, exp }), { type: 'bearer' })
      expect((await at(NOW_S - 9)).body).to.have.property('expiresAt', (NOW_S + 1) * 1000)
      await expectCode(at(NOW_S - 10), 401, 'ERR_SSE_TOKEN_EXPIRED')
    })

    it('checks issuer and audience with the options', async () => {
      const agent = await serveAuth({ issuer: 'https://id.example', audience: ['api', 'app'] })
      const withClaims = (iss?: string, aud?: string | string[]): supertest.Test =>
        agent.get('/').auth(sign({ ...CLAIMS, ...(iss && { iss }), ...(aud && { aud }) }), { type: 'bearer' })
      expect((await withClaims('https://id.example', 'app')).status).to.equal(200)
      expect((await withClaims('https://id.example', ['other', 'api'])).status).to.equal(200)
      for (const test of [
        withClaims('https://evil.example', 'app'),
        withClaims(undefined, 'app'),
        withClaims('https://id.example', 'other'),
        withClaims('https://id.example'),
      ]) {
        await expectCode(test, 401, 'ERR_SSE_TOKEN_INVALID')
      }
    })

    it('accepts tokens of each secret during a rotation, and of no other', async () => {
      const agent = await serveAuth({ secret: [SECRET, Buffer.from(OTHER_SECRET)] })
      for (const secret of [SECRET, OTHER_SECRET]) {
        expect((await agent.get('/').auth(sign(CLAIMS, secret), { type: 'bearer' })).status).to.equal(200)
      }
      const third = sign(CLAIMS, `${SECRET}!`)
      await expectCode(agent.get('/').auth(third, { type: 'bearer' }), 401, 'ERR_SSE_TOKEN_INVALID')
      const expired = sign({ ...CLAIMS, exp: NOW_S - 1 }, OTHER_SECRET)
      await expectCode(agent.get('/').auth(expired, { type: 'bearer' }), 401, 'ERR_SSE_TOKEN_EXPIRED')
    })

    describe('with getKey', () => {
      const keys: Record<string, string | KeyObject> = { one: publicPem, two: rsa.publicKey, ec: ec.publicKey }
      const options: Partial<AuthenticateOptions> = {
        algorithms: ['RS256', 'ES256'],
        getKey: async ({ kid }) => (kid === undefined ? undefined : keys[kid]),
      }
      const signed = (keyid: string, key = rsa.privateKey, algorithm: jwt.Algorithm = 'RS256'): string =>
        sign(CLAIMS, key, { keyid, algorithm })

      it('verifies with the key of the kid', async () => {
        const agent = await serveAuth(options)
        for (const token of [signed('one'), signed('two'), signed('ec', ec.privateKey, 'ES256')]) {
          expect((await agent.get('/').auth(token, { type: 'bearer' })).body).to.include({ user: 'ada' })
        }
      })

      it('refuses an unknown kid, a wrong key and an algorithm that does not match the key', async () => {
        const agent = await serveAuth(options)
        const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
        for (const token of [
          signed('three'),
          signed('one', stranger),
          signed('ec'),
          signed('one', ec.privateKey, 'ES256'),
        ]) {
          await expectCode(agent.get('/').auth(token, { type: 'bearer' }), 401, 'ERR_SSE_TOKEN_INVALID')
        }
      })

      it('refuses a token that has the public key as its HS secret', async () => {
        const forged = jwt.sign(CLAIMS, createSecretKey(Buffer.from(publicPem)), { keyid: 'one', noTimestamp: true })
        let calls = 0
        const getKey = (): string => {
          calls++
          return publicPem
        }
        const agent = await serveAuth({ algorithms: ['RS256'], getKey })
        await expectCode(agent.get('/').auth(forged, { type: 'bearer' }), 401, 'ERR_SSE_TOKEN_INVALID')
        expect(calls).to.equal(0)
      })

      it('does not use a public key as an HS secret, even if getKey returns one', async () => {
        const forged = jwt.sign(CLAIMS, createSecretKey(Buffer.from(publicPem)), { noTimestamp: true })
        for (const key of [publicPem, rsa.publicKey]) {
          const agent = await serveAuth({ algorithms: ['HS256'], getKey: () => key })
          expect((await agent.get('/').auth(forged, { type: 'bearer' })).status).to.equal(500)
        }
      })

      it('verifies HS tokens with a secret from getKey', async () => {
        const agent = await serveAuth({ algorithms: ['HS256'], getKey: () => SECRET })
        expect((await agent.get('/').auth(sign(), { type: 'bearer' })).body).to.include({ user: 'ada' })
      })

      it('passes the failure of a key server to the error handler, instead of a 401', async () => {
        const failures: AuthenticateOptions['getKey'][] = [
          () => Promise.reject(new Error('no key server')),
          () => {
            throw new Error('no key server')
          },
        ]
        for (const getKey of failures) {
          const agent = await serveAuth({ algorithms: ['RS256'], getKey: getKey as NonNullable<typeof getKey> })
          const answer = await agent.get('/').auth(signed('one'), { type: 'bearer' })
          expect([answer.status, answer.body]).to.deep.equal([500, { handler: 'no key server' }])
        }
      })
    })

    describe('the claims of user and tenant', () => {
      const url = 'https://app.example/tenant'
      const found: readonly (readonly [string, Partial<AuthenticateOptions>, object])[] = [
        ['as whole numbers', {}, { sub: 7, tenant: 42 }],
        ['by a path', { tenantClaim: 'firebase.tenant' }, { sub: '7', firebase: { tenant: 42 } }],
        ['by a name with dots', { tenantClaim: url }, { sub: '7', [url]: '42' }],
        ['by a name with dots before a path', { tenantClaim: 'a.b' }, { sub: '7', a: { b: 'x' }, 'a.b': '42' }],
        ['by a path below a name with dots', { tenantClaim: `${url}.id` }, { sub: '7', [url]: { id: '42' } }],
        ['by a function', { tenantClaim: ({ orgs }) => (orgs as number[])[0] }, { sub: '7', orgs: [42] }],
        ['both', { userClaim: 'me.id', tenantClaim: 'me.org' }, { me: { id: 7, org: 42 } }],
      ]
      for (const [what, options, claims] of found) {
        it(`are found ${what}`, async () => {
          const agent = await serveAuth(options)
          const { body } = await agent.get('/').auth(sign({ exp: CLAIMS.exp, ...claims }), { type: 'bearer' })
          expect(body).to.include({ user: '7', tenant: '42' })
        })
      }

      const missing: readonly (readonly [string, AuthenticateOptions['tenantClaim'], object])[] = [
        ['a path that ends early', 'a.b', { a: 'b' }],
        ['an inherited name', 'constructor.name', {}],
        ['an inherited name within', 'a.constructor.name', { a: {} }],
        ['a list in a path', 'a.0', { a: ['acme'] }],
        ['a function that returns nothing', () => undefined, {}],
      ]
      for (const [what, tenantClaim, claims] of missing) {
        it(`are not found in ${what}`, async () => {
          const agent = await serveAuth({ tenantClaim: tenantClaim as NonNullable<typeof tenantClaim> })
          const test = agent.get('/').auth(sign({ sub: 'ada', exp: CLAIMS.exp, ...claims }), { type: 'bearer' })
          await expectCode(test, 401, 'ERR_SSE_TOKEN_CLAIMS')
        })
      }
    })

    describe('a token signed with an Edwards key', () => {
      const ed25519 = generateKeyPairSync('ed25519')
      const ed448 = generateKeyPairSync('ed448')

      function edSigned(alg: string, { privateKey } = ed25519, claims: object = CLAIMS): string {
        const text = encode({ alg, kid: 'one' }, claims).slice(0, -1)
        return `${text}.${signBytes(null, Buffer.from(text), privateKey).toString('base64url')}`
      }

      async function statusOf(
        token: string,
        { publicKey } = ed25519,
        options: Partial<AuthenticateOptions> = {},
      ): Promise<number> {
        const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
        const agent = await serveAuth({ algorithms: ['EdDSA', 'Ed25519', 'RS256'], getKey: () => pem, ...options })
        return (await agent.get('/').auth(token, { type: 'bearer' })).status
      }

      it('is accepted with each name of its algorithm', async () => {
        expect(await statusOf(edSigned('EdDSA'))).to.equal(200)
        expect(await statusOf(edSigned('Ed25519'))).to.equal(200)
        expect(await statusOf(edSigned('EdDSA', ed448), ed448)).to.equal(200)
        expect(await statusOf(edSigned('Ed448', ed448), ed448, { algorithms: ['Ed448'] })).to.equal(200)
      })

      it('is refused with another key, another algorithm or another text', async () => {
        const other = generateKeyPairSync('ed25519')
        const [head, , signature] = edSigned('EdDSA').split('.')
        const changed = Buffer.from(JSON.stringify({ ...CLAIMS, sub: 'eve' })).toString('base64url')
        expect(await statusOf(edSigned('EdDSA', other))).to.equal(401)
        expect(await statusOf(`${head}.${changed}.${signature}`)).to.equal(401)
        expect(await statusOf(edSigned('Ed25519', ed448), ed448)).to.equal(401)
        expect(await statusOf(edSigned('EdDSA'), ed25519, { algorithms: ['RS256'] })).to.equal(401)
        expect(await statusOf(edSigned('RS256'))).to.equal(401)
        expect(await statusOf(edSigned('EdDSA'), rsa)).to.equal(401)
        expect(await statusOf(jwt.sign(CLAIMS, rsa.privateKey, { algorithm: 'RS256' }), ed25519)).to.equal(401)
      })

      it('must satisfy issuer, audience, nbf and exp like any other', async () => {
        const options = { issuer: 'https://id.example', audience: ['inbox', 'dashboard'] }
        const good = { ...CLAIMS, iss: 'https://id.example', aud: ['x', 'dashboard'], nbf: NOW_S - 1 }
        const status = (claims: object): Promise<number> =>
          statusOf(edSigned('EdDSA', ed25519, claims), ed25519, options)
        expect(await status(good)).to.equal(200)
        for (const wrong of [{ iss: 'x' }, { aud: 'x' }, { nbf: NOW_S + 60 }, { nbf: 'soon' }, { exp: NOW_S - 1 }]) {
          expect(await status({ ...good, ...wrong }), JSON.stringify(wrong)).to.equal(401)
        }
      })
    })

    describe('the token in the URL', () => {
      it('is accepted on GET and HEAD, and keeps the URL out of Referer', async () => {
        const agent = await serveAuth()
        const answer = await agent.get('/').query({ token: sign() })
        expect(answer.body).to.include({ user: 'ada' })
        expect(answer.headers['referrer-policy']).to.equal('no-referrer')
        expect((await agent.head('/').query({ token: sign() })).status).to.equal(200)
        const refused = await expectCode(agent.get('/').query({ token: 'bad' }), 401, 'ERR_SSE_TOKEN_INVALID')
        expect(refused.headers['referrer-policy']).to.equal('no-referrer')
      })

      it('is ignored on other methods', async () => {
        await expectCode((await serveAuth()).post('/').query({ token: sign() }), 401, 'ERR_SSE_TOKEN_MISSING')
      })

      it('is read after the header', async () => {
        const agent = await serveAuth()
        const test = agent.get('/').query({ token: sign({ ...CLAIMS, sub: 'eve' }) })
        expect((await test.auth(sign(), { type: 'bearer' })).body).to.include({ user: 'ada' })
      })

      it('may have another name, or be disabled', async () => {
        const named = await serveAuth({ query: 'access_token' })
        expect((await named.get('/').query({ access_token: sign() })).status).to.equal(200)
        await expectCode(named.get('/').query({ token: sign() }), 401, 'ERR_SSE_TOKEN_MISSING')
        await expectCode(
          (await serveAuth({ query: null })).get('/').query({ token: sign() }),
          401,
          'ERR_SSE_TOKEN_MISSING',
        )
      })
    })

    describe('the token in a cookie', () => {
      const cookie = `theme=dark; session=${sign()}; session=other`

      it('is not read unless a name is given', async () => {
        await expectCode((await serveAuth()).get('/').set('Cookie', cookie), 401, 'ERR_SSE_TOKEN_MISSING')
      })

      it('is read from the cookie of exactly that name, quoted or not', async () => {
        const agent = await serveAuth({ cookie: 'session' })
        for (const header of [cookie, `session="${sign()}"`, `xsession=bad;session=${sign()}`]) {
          expect((await agent.post('/').set('Cookie', header)).body).to.include({ user: 'ada' })
        }
        for (const header of ['session=', 'session', `asession=${sign()}`, ';;=;']) {
          await expectCode(agent.get('/').set('Cookie', header), 401, 'ERR_SSE_TOKEN_MISSING')
        }
      })

      const requests: readonly [string, Record<string, string>, boolean][] = [
        ['of the same origin', { 'Sec-Fetch-Site': 'same-origin' }, true],
        ['of the same site', { 'Sec-Fetch-Site': 'same-site', Origin: 'https://www.app.example' }, true],
        ['typed by the user', { 'Sec-Fetch-Site': 'none' }, true],
        ['of another site', { 'Sec-Fetch-Site': 'cross-site' }, false],
        [
          'of another site that fakes the Origin',
          { 'Sec-Fetch-Site': 'cross-site', Origin: 'https://app.example' },
          false,
        ],
        ['with a Sec-Fetch-Site no one knows', { 'Sec-Fetch-Site': 'near' }, false],
        ['of an older browser, same origin', { Origin: 'https://app.example' }, true],
        ['of an older browser, default port named', { Origin: 'https://app.example', Host: 'app.example:443' }, true],
        ['of an older browser, another origin', { Origin: 'https://evil.example' }, false],
        ['of an older browser, another port', { Origin: 'https://app.example:8443' }, false],
        ['of an older browser, a look-alike origin', { Origin: 'https://app.example.evil.example' }, false],
        ['of a sandboxed page', { Origin: 'null' }, false],
        ['with an Origin that is not a URL', { Origin: 'app.example' }, false],
        ['of no browser', {}, true],
        ['of an allowed origin', { 'Sec-Fetch-Site': 'cross-site', Origin: 'https://friend.example' }, true],
        ['of an allowed origin in an older browser', { Origin: 'https://friend.example' }, true],
      ]
      for (const [what, headers, accepted] of requests) {
        it(`is ${accepted ? 'accepted' : 'refused'} on a request ${what}`, async () => {
          const agent = await serveAuth({ cookie: 'session', allowedOrigins: ['https://friend.example'] })
          const test = agent.get('/').set({ Host: 'app.example', Cookie: cookie, ...headers })
          if (accepted) expect((await test).body).to.include({ user: 'ada' })
          else await expectCode(test, 403, 'ERR_SSE_CROSS_SITE')
        })
      }

      it('is ignored on a request with a Bearer token', async () => {
        const agent = await serveAuth({ cookie: 'session' })
        const test = agent.get('/').set({ Cookie: cookie, 'Sec-Fetch-Site': 'cross-site' })
        expect((await test.auth(sign(), { type: 'bearer' })).status).to.equal(200)
      })
    })

    it('answers malformed tokens with 401, never with 5xx', async () => {
      const agent = await serveAuth({ cookie: 'session' })
      const keyed = await listen(
        express()
          .use(authenticate({ algorithms: ['RS256', 'ES256'], getKey: () => publicPem, clock }))
          .use((_req, res) => void res.sendStatus(200)),
      )
      const json = fc.jsonValue()
      const header = fc.oneof(
        json,
        fc.record(
          { alg: fc.constantFrom('HS256', 'RS256', 'ES256', 'none', ''), kid: json, crit: json },
          { requiredKeys: ['alg'] },
        ),
      )
      const token = fc.oneof(
        fc.string({ maxLength: 60 }),
        fc
          .tuple(header, json, fc.base64String({ maxLength: 40 }))
          .map(([head, body, mac]) => encode(head, body, mac.replace(/[+/=]/g, '_'))),
        // Correctly signed, so that any payload reaches the check of the claims.
        json.map((payload) => jwt.sign(JSON.stringify(payload) ?? '', SECRET)),
      )
      await fc.assert(
        fc.asyncProperty(token, async (text) => {
          const sendable = text.replace(/[^\x21-\x7e]/g, '~')
          for (const test of [
            agent.get('/').set('Authorization', `Bearer ${sendable}`),
            agent.get(`/?token=${encodeURIComponent(text.toWellFormed())}`),
            agent.get('/').set('Cookie', `session=${sendable}`),
            keyed.get('/').set('Authorization', `Bearer ${sendable}`),
          ]) {
            expect((await test).status).to.equal(401)
          }
        }),
        { numRuns: 60 },
      )
    })
  })
}

describe('the options of authenticate', () => {
  const getKey = (): string => publicPem
  const refused: Record<string, unknown> = {
    'neither secret nor getKey': {},
    'both secret and getKey': { secret: SECRET, getKey, algorithms: ['HS256'] },
    'a secret of one byte': { secret: 'x' },
    'a secret of 31 bytes': { secret: 'x'.repeat(31) },
    'a short secret among good ones': { secret: [SECRET, 'short'] },
    'no secret in the list': { secret: [] },
    'a public key as the secret': { secret: publicPem },
    'a public key as the secret, in bytes': { secret: Buffer.from(publicPem) },
    'a secret that is not a string': { secret: 7 },
    'a getKey that is not a function': { getKey: 'key', algorithms: ['RS256'] },
    'getKey without algorithms': { getKey },
    'getKey with no algorithm': { getKey, algorithms: [] },
    'the algorithm none': { getKey, algorithms: ['RS256', 'none'] },
    'HS and RS together': { getKey, algorithms: ['HS256', 'RS256'] },
    'RS with a secret': { secret: SECRET, algorithms: ['RS256'] },
    'an unknown algorithm': { secret: SECRET, algorithms: ['HS1'] },
    'a huge tolerance': { secret: SECRET, clockToleranceS: 61 },
    'a negative tolerance': { secret: SECRET, clockToleranceS: -1 },
    'an empty issuer': { secret: SECRET, issuer: '' },
    'no audience in the list': { secret: SECRET, audience: [] },
    'an empty claim name': { secret: SECRET, userClaim: '' },
    'a claim that is a list': { secret: SECRET, tenantClaim: ['tenant'] },
    'a failure limit that is not a handler': { secret: SECRET, failureLimit: { points: 3 } },
    'both secret and resolve': { secret: SECRET, resolve: () => undefined },
    'a resolve that is not a function': { resolve: {} },
    'resolve with a cookie': { resolve: () => undefined, cookie: 'session' },
    'resolve with algorithms': { resolve: () => undefined, algorithms: ['RS256'] },
    'a bound on nothing': { secret: SECRET, maxTokenBytes: 0 },
    'a cookie name with a semicolon': { secret: SECRET, cookie: 'a;b' },
    'an empty query name': { secret: SECRET, query: '' },
    'a store of tickets that is none': { secret: SECRET, tickets: {} },
    'tokens where the tickets are': { secret: SECRET, tickets: { take: () => undefined }, query: 'ticket' },
    'revocations that are none': { secret: SECRET, revocations: {} },
    'an unknown way to fail': { secret: SECRET, onRevocationError: 'maybe' },
    'an allowed origin with a path': { secret: SECRET, allowedOrigins: ['https://app.example/'] },
    'an allowed origin that is a pattern': { secret: SECRET, allowedOrigins: ['*'] },
  }
  for (const [what, options] of Object.entries(refused)) {
    it(`are refused at construction: ${what}`, () => {
      expect(() => authenticate(options as AuthenticateOptions))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    })
  }
})
