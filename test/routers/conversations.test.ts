import { expect } from 'chai'
import express, { type RequestHandler } from 'express'
import request from 'supertest'
import { createMultiplexer, type Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import { conversationStreams, conversationsChannel, messagesChannel } from '../../lib/routers/conversations.js'

/** Stands in for `authenticate()`: `acme/dana` in a header. */
const signedIn: RequestHandler = (req, _res, next) => {
  const [tenant, user] = (req.get('x-user') ?? '').split('/')
  const auth = { tenant, user, expiresAt: Date.now() + 60_000, claims: {} }
  Object.assign(req, user === undefined ? {} : { auth })
  next()
}

describe('polling conversations', () => {
  let multiplexer: Multiplexer
  let app: express.Express

  beforeEach(() => {
    multiplexer = createMultiplexer()
    const authorize = (_auth: unknown, conversationId: string) => conversationId !== 'secret'
    app = express().use(signedIn, conversationStreams({ multiplexer, authorize }))
  })
  afterEach(() => multiplexer.close())

  it("delivers the events of the caller's own tenant, like the streams", async () => {
    const published = [
      await multiplexer.publish(conversationsChannel('acme'), { event: 'new_message', data: 1 }),
      await multiplexer.publish(messagesChannel('acme', 'c1'), { event: 'message', data: 2 }),
    ]
    await multiplexer.publish(conversationsChannel('globex'), { event: 'new_message', data: 'theirs' })
    const paths = ['/poll/conversations', '/poll/messages/c1']
    for (const [i, path] of paths.entries()) {
      const { body } = await request(app).get(`${path}?from=earliest`).set('x-user', 'acme/dana').expect(200)
      expect(body.events.map(({ data }: { data: string }) => data)).to.deep.equal([`${i + 1}`])
      expect(body.cursor).to.equal(`${published[i]?.epoch}-1`)
    }
    const { body } = await request(app).get('/poll/messages/c1?from=earliest').set('x-user', 'globex/eve').expect(200)
    expect(body.events, "another tenant's conversation of the same name").to.deep.equal([])
  })

  it('refuses the callers that the streams refuse', async () => {
    const path = '/poll/messages/secret'
    const forbidden = await request(app).get(path).set('x-user', 'acme/dana').expect(403)
    expect(forbidden.body.code).to.equal('ERR_SSE_FORBIDDEN')
    for (const each of [path, '/poll/conversations']) {
      expect((await request(app).get(each).expect(401)).body.code).to.equal('ERR_SSE_TOKEN_MISSING')
    }
  })
})
