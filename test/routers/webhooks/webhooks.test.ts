import { createHmac } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { expect } from 'chai'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import fc from 'fast-check'
import supertest from 'supertest'
import { RequestError } from '../../../lib/core/errors.js'
import type { InboundMessage } from '../../../lib/routers/webhooks/message.js'
import type { WebhooksOptions } from '../../../lib/routers/webhooks/options.js'
import { type WebhooksRouter, webhooks } from '../../../lib/routers/webhooks/webhooks.js'
import { MemoryStore } from '../../../lib/store/memory.js'
import { RedisStore } from '../../../lib/store/redis.js'
import type { KeyValueStore } from '../../../lib/store/store.js'
import { EXPRESS_VERSIONS } from '../../helpers/express-versions.js'
import { FakeClock } from '../../helpers/fake-clock.js'
import { serve, type TestServer } from '../../helpers/http-server.js'
import { RedisServer } from '../../helpers/redis-server.js'
import { messagingEvent, messagingPayload, whatsAppPayload, whatsAppStatuses, whatsAppText } from './payloads.js'

const SECRET = '0123456789abcdef0123456789abcdef'
const TOKEN = 'the verify token'

function signature(body: string | Buffer, secret = SECRET): string {
  return `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
}

/** A promise, and the function that resolves it. */
function signal(): [happened: Promise<void>, happen: () => void] {
  let happen = (): void => undefined
  const happened = new Promise<void>((resolve) => {
    happen = resolve
  })
  return [happened, () => happen()]
}

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`webhooks on ${name}`, () => {
    const undo: (() => Promise<void>)[] = []

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })

    interface App {
      readonly agent: ReturnType<typeof supertest>
      readonly messages: InboundMessage[]
      readonly router: WebhooksRouter
    }

    async function start(options: Partial<WebhooksOptions> = {}, ...before: RequestHandler[]): Promise<App> {
      const messages: InboundMessage[] = []
      const onMessage = (message: InboundMessage): void => void messages.push(message)
      const router = webhooks({ secrets: SECRET, verifyToken: TOKEN, onMessage, ...options })
      const app = express()
      for (const handler of before) app.use(handler)
      app.use('/webhooks', router)
      app.use(((error: Error & { status?: number }, _req, res, _next) => {
        res.status(error.status ?? 500).json({ handler: error.message })
      }) as ErrorRequestHandler)
      const server: TestServer = await serve(app)
      undo.push(
        () => router.close(),
        () => server.stop(),
      )
      return { agent: supertest(server.url), messages, router }
    }

    function post(
      { agent }: App,
      body: object | string | Buffer,
      { path = 'whatsapp', signed = undefined as string | undefined } = {},
    ): supertest.Test {
      const bytes = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)
      return agent
        .post(`/webhooks/${path}`)
        .set('Content-Type', 'application/json')
        .set('X-Hub-Signature-256', signed ?? signature(bytes))
        .send(bytes)
        .serialize((data) => data)
    }

    async function expectCode(test: supertest.Test, status: number, code: string): Promise<supertest.Response> {
      const answer = await test
      expect({ status: answer.status, code: answer.body.code }).to.deep.equal({ status, code })
      expect(answer.headers['content-type']).to.equal('application/problem+json; charset=utf-8')
      return answer
    }

    async function expectReceived(test: supertest.Test, received: number): Promise<void> {
      const answer = await test
      expect([answer.status, answer.body]).to.deep.equal([200, { received }])
    }

    describe('the handshake', () => {
      const query = { 'hub.mode': 'subscribe', 'hub.verify_token': TOKEN, 'hub.challenge': '1158201444' }

      it('echoes the challenge for the correct verify token, as plain text', async () => {
        const { agent } = await start()
        for (const provider of ['whatsapp', 'messenger', 'instagram']) {
          for (const challenge of ['1158201444', '<script>alert(1)</script>']) {
            const answer = await agent.get(`/webhooks/${provider}`).query({ ...query, 'hub.challenge': challenge })
            expect([answer.status, answer.text]).to.deep.equal([200, challenge])
            expect(answer.headers).to.include({
              'content-type': 'text/plain; charset=utf-8',
              'x-content-type-options': 'nosniff',
            })
          }
        }
      })

      it('refuses a wrong token, mode or challenge', async () => {
        const { agent } = await start()
        for (const wrong of [
          { 'hub.verify_token': 'the verify tokem' },
          { 'hub.verify_token': '' },
          { 'hub.verify_token': undefined },
          { 'hub.mode': 'unsubscribe' },
          { 'hub.mode': undefined },
          { 'hub.challenge': undefined },
          { 'hub.challenge': 'x'.repeat(1025) },
        ]) {
          const test = agent.get('/webhooks/whatsapp').query({ ...query, ...wrong })
          await expectCode(test, 403, 'ERR_SSE_VERIFY_TOKEN_INVALID')
        }
      })

      it('accepts only the token of the provider if they differ', async () => {
        const { agent } = await start({ verifyToken: { whatsapp: TOKEN, messenger: 'm', instagram: 'i' } })
        expect((await agent.get('/webhooks/whatsapp').query(query)).status).to.equal(200)
        await expectCode(agent.get('/webhooks/messenger').query(query), 403, 'ERR_SSE_VERIFY_TOKEN_INVALID')
      })
    })

    describe('the routes', () => {
      it('exist only for providers with a secret', async () => {
        const app = await start({ secrets: { messenger: SECRET } })
        await expectReceived(post(app, messagingPayload('page', []), { path: 'messenger' }), 0)
        for (const path of ['whatsapp', 'instagram', 'telegram', '']) {
          expect((await post(app, whatsAppPayload([]), { path })).status).to.equal(404)
        }
      })

      it('accept only GET and POST', async () => {
        const { agent } = await start()
        for (const method of ['put', 'delete', 'patch', 'options'] as const) {
          const answer = await expectCode(agent[method]('/webhooks/whatsapp'), 405, 'ERR_SSE_METHOD_NOT_ALLOWED')
          expect(answer.headers.allow).to.equal('GET, HEAD, POST')
        }
      })
    })

    describe('a delivery', () => {
      it('passes on its messages in order, and is answered with the number of new ones', async () => {
        const app = await start()
        await expectReceived(post(app, whatsAppPayload([whatsAppText('1', 'a'), whatsAppText('2', 'b')])), 2)
        await expectReceived(post(app, whatsAppPayload([whatsAppText('2', 'b'), whatsAppText('3', 'c')])), 1)
        expect(app.messages.map(({ text }) => text)).to.deep.equal(['a', 'b', 'c'])
      })

      it('of each provider is read in the form of that provider', async () => {
        const app = await start()
        const message = messagingEvent({ mid: 'same-id', text: 'Hello' })
        await expectReceived(post(app, messagingPayload('page', [message]), { path: 'messenger' }), 1)
        await expectReceived(post(app, messagingPayload('instagram', [message]), { path: 'instagram' }), 1)
        await expectReceived(post(app, whatsAppPayload([whatsAppText('same-id')])), 1)
        expect(app.messages.map(({ provider }) => provider)).to.deep.equal(['messenger', 'instagram', 'whatsapp'])
        await expectCode(post(app, messagingPayload('page', [message])), 400, 'ERR_SSE_PAYLOAD_INVALID')
      })

      it('without messages is accepted', async () => {
        const app = await start()
        await expectReceived(post(app, whatsAppStatuses()), 0)
        expect(app.messages).to.deep.equal([])
      })

      it('is refused unless its exact bytes are signed', async () => {
        const app = await start()
        const body = JSON.stringify(whatsAppPayload([whatsAppText('1')]))
        const good = signature(body)
        for (const signed of [
          '',
          'sha256=',
          good.slice(7),
          good.slice(0, -1),
          `${good}0`,
          `${good}, ${good}`,
          good.replace('sha256', 'sha1'),
          `sha256=${'z'.repeat(64)}`,
          `sha256=${'0'.repeat(64)}`,
          signature(body, 'another secret'),
          signature(`${body} `),
          signature(''),
        ]) {
          await expectCode(post(app, body, { signed }), 401, 'ERR_SSE_SIGNATURE_INVALID')
        }
        await expectCode(app.agent.post('/webhooks/whatsapp').send({}), 401, 'ERR_SSE_SIGNATURE_INVALID')
        await expectCode(app.agent.post('/webhooks/whatsapp'), 401, 'ERR_SSE_SIGNATURE_INVALID')
        expect(app.messages).to.deep.equal([])
        await expectReceived(post(app, body, { signed: good.toUpperCase().replace('SHA', 'sha') }), 1)
      })

      it('may be signed with each secret during a rotation', async () => {
        const app = await start({ secrets: { whatsapp: [SECRET, 'next'] } })
        for (const [id, secret] of [
          ['1', SECRET],
          ['2', 'next'],
        ] as const) {
          const body = JSON.stringify(whatsAppPayload([whatsAppText(id)]))
          await expectReceived(post(app, body, { signed: signature(body, secret) }), 1)
        }
      })

      it('is verified with bytes that are not ASCII, and with any spaces and escapes', async () => {
        const app = await start()
        const json = JSON.stringify(whatsAppPayload([whatsAppText('1', 'Grüße 🎉')]), null, 2)
        const body = ` ${json.replace('ü', '\\u00fc')}\n`
        await expectReceived(post(app, body), 1)
        expect(app.messages[0]?.text).to.equal('Grüße 🎉')
      })

      it('that is signed but not JSON, or not a payload, is refused', async () => {
        const app = await start()
        for (const body of ['{', 'null', '[]', '7', '{"object":"user","entry":[]}', '\0', '']) {
          const test =
            body === ''
              ? app.agent.post('/webhooks/whatsapp').set('X-Hub-Signature-256', signature(''))
              : post(app, body)
          await expectCode(test, 400, 'ERR_SSE_PAYLOAD_INVALID')
        }
      })

      it('over the limit is refused, with a Content-Length and without', async () => {
        const app = await start({ maxBodyBytes: 1000 })
        const body = JSON.stringify(whatsAppPayload([whatsAppText('1', 'x'.repeat(1000))]))
        await expectCode(post(app, body), 413, 'ERR_SSE_PAYLOAD_TOO_LARGE')
        const chunked = app.agent.post('/webhooks/whatsapp').set('X-Hub-Signature-256', signature(body))
        chunked.write(body.slice(0, 900))
        chunked.write(body.slice(900))
        await expectCode(chunked, 413, 'ERR_SSE_PAYLOAD_TOO_LARGE')
        expect(app.messages).to.deep.equal([])
      })

      it('that is compressed is refused, with any size', async () => {
        const app = await start()
        const body = gzipSync(Buffer.alloc(2_000_000, ' '))
        for (const encoding of ['gzip', 'br', 'deflate', 'zstd']) {
          const test = post(app, body).set('Content-Encoding', encoding)
          await expectCode(test, 415, 'ERR_SSE_PAYLOAD_UNREADABLE')
        }
      })

      it('whose body a parser has consumed is refused, with the remedy in the message', async () => {
        const app = await start({}, express.json())
        const answer = await expectCode(post(app, whatsAppPayload([])), 500, 'ERR_SSE_RAW_BODY_CONSUMED')
        expect(answer.body.detail).to.contain('Mount webhooks() before express.json()')
        expect(app.messages).to.deep.equal([])
      })

      it('is read after a parser for other types, or a raw one', async () => {
        for (const parser of [express.urlencoded({ extended: false }), express.raw({ type: () => true })]) {
          const app = await start({}, parser)
          await expectReceived(post(app, whatsAppPayload([whatsAppText('1')])), 1)
        }
      })

      it('with malformed parts is never answered 5xx', async () => {
        const app = await start()
        const garbage = fc.oneof(
          fc.json().map((text) => Buffer.from(text)),
          fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
          fc.jsonValue().map((value) => Buffer.from(JSON.stringify(whatsAppPayload([], { messages: value })))),
          fc.jsonValue().map((value) => Buffer.from(JSON.stringify({ object: 'page', entry: value }))),
        )
        await fc.assert(
          fc.asyncProperty(garbage, fc.constantFrom('whatsapp', 'messenger', 'instagram'), async (body, path) => {
            expect((await post(app, body, { path })).status).to.be.oneOf([200, 400])
          }),
          { numRuns: 150 },
        )
      })
    })

    describe('a message', () => {
      it('is handled again after dedupTtlMs', async () => {
        const clock = new FakeClock()
        const app = await start({ clock, dedupTtlMs: 1000 })
        const payload = whatsAppPayload([whatsAppText('1')])
        await expectReceived(post(app, payload), 1)
        clock.advance(999)
        await expectReceived(post(app, payload), 0)
        clock.advance(1)
        await expectReceived(post(app, payload), 1)
      })

      it('is handled again on a retry if its handler failed, and earlier messages are not', async () => {
        const seen: string[] = []
        let failure: unknown
        const app = await start({
          onMessage: async ({ messageId }) => {
            seen.push(messageId)
            if (messageId === '2' && failure !== undefined) throw failure
          },
        })
        const payload = whatsAppPayload(['1', '2', '3'].map((id) => whatsAppText(id)))
        for (const [thrown, status, handler] of [
          [new Error('database is down'), 500, 'database is down'],
          // Not an error of the provider, although other routes answer 403.
          [new RequestError('ERR_SSE_FORBIDDEN', 'not yours'), 500, 'not yours'],
          ['router', 500, 'onMessage failed'],
          [null, 500, 'onMessage failed'],
        ] as const) {
          failure = thrown
          const answer = await post(app, payload)
          expect([answer.status, answer.body]).to.deep.equal([status, { handler }])
        }
        failure = undefined
        await expectReceived(post(app, payload), 2)
        expect(seen).to.deep.equal(['1', '2', '2', '2', '2', '2', '3'])
      })

      it('is deferred while it is being handled, and skipped afterwards', async () => {
        const [inside, enter] = signal()
        const [finished, finish] = signal()
        const app = await start({
          onMessage: async () => {
            enter()
            await finished
          },
        })
        const payload = whatsAppPayload([whatsAppText('1')])
        const first = post(app, payload).then((answer) => answer)
        await inside
        const answer = await expectCode(post(app, payload), 503, 'ERR_SSE_DELIVERY_IN_PROGRESS')
        expect(Number(answer.headers['retry-after'])).to.be.at.least(1)
        finish()
        expect((await first).body).to.deep.equal({ received: 1 })
        await expectReceived(post(app, payload), 0)
      })

      for (const suspended of [false, true]) {
        const where = suspended ? ', on a suspended machine' : ''
        it(`keeps the next claim if its handler outlives the first claim${where}`, async () => {
          const clock = new FakeClock()
          const store = new MemoryStore({ clock })
          const app = await start({
            clock,
            store,
            claimTtlMs: 1000,
            onMessage: async () => {
              if (suspended) {
                await store.delete('webhook:whatsapp:1')
                clock.setWallClock(1000)
              } else {
                clock.advance(1000)
              }
              await store.claim('webhook:whatsapp:1', 'processing', 1000)
              throw new Error('too late')
            },
          })
          expect((await post(app, whatsAppPayload([whatsAppText('1')]))).status).to.equal(500)
          expect(await store.get(['webhook:whatsapp:1'])).to.deep.equal(['processing'])
          await store.close()
        })
      }

      it('is not handled while the store fails, and not twice if the store fails after it was handled', async () => {
        const clock = new FakeClock()
        const memory = new MemoryStore({ clock })
        const failing = new Set<keyof KeyValueStore>()
        const guard = <T>(operation: keyof KeyValueStore, run: () => Promise<T>): Promise<T> =>
          failing.has(operation) ? Promise.reject(new Error('connect ECONNREFUSED 10.0.0.7:6379')) : run()
        const store: KeyValueStore = {
          get: (keys) => guard('get', () => memory.get(keys)),
          set: (key, value, ttlMs) => guard('set', () => memory.set(key, value, ttlMs)),
          claim: (key, value, ttlMs) => guard('claim', () => memory.claim(key, value, ttlMs)),
          take: (key) => guard('take', () => memory.take(key)),
          delete: (key) => guard('delete', () => memory.delete(key)),
          close: () => memory.close(),
        }
        const app = await start({ clock, store })
        const payload = whatsAppPayload([whatsAppText('1')])
        failing.add('claim')
        const refused = await expectCode(post(app, payload), 503, 'ERR_SSE_BROKER_UNAVAILABLE')
        expect(refused.headers['retry-after']).to.equal('1')
        expect(refused.text).not.to.contain('10.0.0.7')
        expect(app.messages).to.have.length(0)

        failing.clear()
        failing.add('set')
        await expectReceived(post(app, payload), 1)
        clock.advance(60_000)
        await expectReceived(post(app, payload), 0)
        failing.clear()
        await expectReceived(post(app, payload), 0)
        expect(await memory.get(['webhook:whatsapp:1'])).to.deep.equal(['done'])
        expect(app.messages).to.have.length(1)
        await memory.close()
      })
    })

    describe('over two processes on one Redis', () => {
      let redis: RedisServer

      before(async () => {
        redis = await RedisServer.start()
      })

      after(async () => {
        await redis.stop()
      })

      it('handles each of many concurrent deliveries once', async () => {
        const apps = [await start({ redis: redis.url }), await start({ redis: redis.url })] as const
        const payloads = Array.from({ length: 10 }, (_, index) => whatsAppPayload([whatsAppText(`both-${index}`)]))
        const answers = await Promise.all(
          payloads.flatMap((payload) => [0, 1, 0, 1].map((at) => post(apps[at as 0 | 1], payload))),
        )
        for (const { status, body } of answers) {
          expect(status === 200 || body.code === 'ERR_SSE_DELIVERY_IN_PROGRESS').to.equal(true)
        }
        const handled = apps.flatMap(({ messages }) => messages.map(({ messageId }) => messageId))
        expect(handled.sort()).to.deep.equal(payloads.map((_, index) => `both-${index}`))
        for (const payload of payloads) await expectReceived(post(apps[0], payload), 0)
      })

      it('handles nothing while Redis is unavailable, and continues afterwards', async () => {
        const own = await RedisServer.start()
        const store = new RedisStore({ redis: own.url, commandTimeoutMs: 200 })
        await store.get(['key'])
        const app = await start({ store })
        await own.kill()
        const payload = whatsAppPayload([whatsAppText('1')])
        await expectCode(post(app, payload), 503, 'ERR_SSE_BROKER_UNAVAILABLE')
        expect(app.messages).to.have.length(0)
        await own.up()
        let status = 503
        for (let tries = 0; tries < 100 && status === 503; tries++) {
          status = (await post(app, payload)).status
          if (status === 503) await new Promise((resolve) => setTimeout(resolve, 50))
        }
        expect([status, app.messages.length]).to.deep.equal([200, 1])
        await store.close()
        await own.stop()
      })
    })
  })
}

describe('the options of webhooks', () => {
  const good: WebhooksOptions = { secrets: SECRET, verifyToken: TOKEN, onMessage: () => undefined }
  const refused: Record<string, object> = {
    'an empty secret': { secrets: '' },
    'no secret in the list': { secrets: [] },
    'an empty secret among others': { secrets: [SECRET, ''] },
    'a secret for no known provider': { secrets: { telegram: SECRET } },
    'no secrets': { secrets: undefined },
    'a provider with a secret and no verify token': { verifyToken: { whatsapp: TOKEN } },
    'an empty verify token': { verifyToken: '' },
    'no handler': { onMessage: undefined },
    'no bytes': { maxBodyBytes: 0 },
    'a memory of no length': { dedupTtlMs: 0 },
    'a claim of no length': { claimTtlMs: Number.NaN },
    'redis and a store': { redis: 'redis://127.0.0.1', store: new MemoryStore() },
  }
  for (const [what, options] of Object.entries(refused)) {
    it(`are refused at construction: ${what}`, () => {
      expect(() => webhooks({ ...good, ...options } as WebhooksOptions))
        .to.throw()
        .with.property('code', 'ERR_SSE_OPTION_INVALID')
    })
  }
})
