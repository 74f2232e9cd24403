import { expect } from 'chai'
import express, { type ErrorRequestHandler, type RequestHandler } from 'express'
import jsonwebtoken from 'jsonwebtoken'
import supertest from 'supertest'
import type { AuthenticateOptions } from '../../lib/auth/options.js'
import { createRevocations } from '../../lib/auth/revocations.js'
import { notFound } from '../../lib/core/errors.js'
import { authenticate } from '../../lib/routers/authenticate.js'
import { rateLimit } from '../../lib/routers/rate-limit.js'
import { createStore } from '../../lib/store/create.js'
import { FakeClock } from '../helpers/fake-clock.js'

const SECRET = 's'.repeat(32)

function sign(claims: object = {}): string {
  return jsonwebtoken.sign({ sub: 'ada', tenant: 'acme', exp: Math.floor(Date.now() / 1000) + 3600, ...claims }, SECRET)
}

/** Values that functions of the application and other issuers pass to `authenticate()`. */
describe('values of the application in authenticate', () => {
  let errors: unknown[]
  const onError: ErrorRequestHandler = (error, _req, res, _next) => {
    errors.push(error)
    res.sendStatus(500)
  }
  const ok: RequestHandler = (_, res) => void res.sendStatus(204)

  beforeEach(() => {
    errors = []
  })

  function get(options: Partial<AuthenticateOptions>, token = sign()): supertest.Test {
    const app = express()
    app.use(authenticate({ secret: SECRET, ...options }), ok, onError)
    return supertest(app).get('/').auth(token, { type: 'bearer' })
  }

  it('passes a rejection of a claim function to the error handler, and leaves none unhandled', async () => {
    const rejects = async (): Promise<never> => {
      throw new Error('no directory')
    }
    for (const option of ['userClaim', 'tenantClaim'] as const) await get({ [option]: rejects }).expect(500)
    expect(errors).to.have.length(2)
    expect(String(errors[0])).to.include('userClaim must return its result, not a promise')
  })

  it('passes a request error of a claim function to the error handler, not to the client', async () => {
    const fails = (): never => {
      throw notFound('the directory of users')
    }
    await get({ userClaim: fails }).expect(500)
    expect(errors).to.have.length(1)
  })

  describe('with a custom implementation of revocations', () => {
    it('refuses a request if the result is neither true nor false', async () => {
      for (const answer of [undefined, null, 0, 'no']) {
        const isRevoked = async (): Promise<boolean> => answer as unknown as boolean
        await get({ revocations: { isRevoked } }).expect(503)
      }
    })

    it('answers if it throws synchronously', async () => {
      const isRevoked = (): never => {
        throw new Error('no store')
      }
      await get({ revocations: { isRevoked } }).expect(503)
      await get({ revocations: { isRevoked }, onRevocationError: 'open' }).expect(204)
    })

    it('answers if it never settles', async () => {
      const clock = new FakeClock()
      const isRevoked = (): Promise<boolean> => {
        queueMicrotask(() => clock.advance(60_000))
        return new Promise(() => undefined)
      }
      await get({ revocations: { isRevoked }, clock }).expect(503)
    })
  })

  it('notifies every listener of a revocation, even if others throw', async () => {
    const store = createStore()
    const revocations = createRevocations({ store })
    const received: string[] = []
    revocations.onRevoke(() => {
      throw new Error('at once')
    })
    const rejects = async (): Promise<never> => {
      throw new Error('later')
    }
    revocations.onRevoke(rejects)
    revocations.onRevoke(({ at }) => void received.push(typeof at))
    await revocations.revoke({ tenant: 'acme' })
    expect(received).to.deep.equal(['number'])
    await store.close()
  })

  it('revokes a token whose jti is a number', async () => {
    const store = createStore()
    const revocations = createRevocations({ store })
    await revocations.revoke({ tokenId: '77' })
    await get({ revocations }, sign({ jti: 77 })).expect(401)
    await get({ revocations }, sign({ jti: 78 })).expect(204)
    await store.close()
  })

  it('refuses a token whose exp is in ms, which would never expire', async () => {
    await get({}, sign({ exp: Date.now() + 60_000 })).expect(401)
    await get({}, sign({ exp: Date.UTC(9999, 11, 31, 23, 59, 59) / 1000 })).expect(204)
  })

  it("fails requests limited by user before authenticate(), also if another library's req.auth is empty", async () => {
    for (const auth of [undefined, null]) {
      const app = express()
      const before: RequestHandler = (req, _res, next) => {
        Object.assign(req, { auth })
        next()
      }
      app.use(before, rateLimit({ by: 'user', points: 1, duration: 60 }), ok, onError)
      await supertest(app).get('/').expect(500)
      expect(errors.pop()).to.have.property('code', 'ERR_SSE_AUTH_ORDER')
    }
  })
})
