import { createHmac } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect } from 'chai'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import supertest from 'supertest'
import {
  diagnostics,
  type InboundMessage,
  type InboundStatus,
  type InboundUnknown,
  RequestError,
  type WebhooksOptions,
  webhooks,
} from '../../../lib/index.js'
import { MemoryStore } from '../../../lib/store/memory.js'
import type { KeyValueStore } from '../../../lib/store/store.js'
import { EXPRESS_VERSIONS } from '../../helpers/express-versions.js'
import { FakeClock } from '../../helpers/fake-clock.js'
import { serve } from '../../helpers/http-server.js'
import { messagingEvent, messagingPayload, whatsAppPayload, whatsAppStatuses, whatsAppText } from './payloads.js'

const SECRET = '0123456789abcdef0123456789abcdef'

function signature(body: string | Buffer): string {
  return `sha256=${createHmac('sha256', SECRET).update(body).digest('hex')}`
}

/** A text from a customer. */
function textFrom(from: string, id: string): object {
  return { ...whatsAppText(id, id), from }
}

for (const { name, express } of EXPRESS_VERSIONS) {
  describe(`the deliveries of webhooks on ${name}`, () => {
    const undo: (() => unknown)[] = []
    let handled: string[]
    let statuses: InboundStatus[]
    let unknowns: InboundUnknown[]
    let errors: unknown[]
    let failing: Map<string, unknown>

    beforeEach(() => {
      handled = []
      statuses = []
      unknowns = []
      errors = []
      failing = new Map()
    })

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step()
    })

    /** Handlers that fail for the texts, statuses and names in `failing`. */
    const all: Pick<WebhooksOptions, 'onMessage' | 'onStatus' | 'onUnknown'> = {
      onMessage: async ({ text }: InboundMessage) => {
        if (failing.has(text)) throw failing.get(text)
        handled.push(text)
      },
      onStatus: async (status) => {
        if (failing.has(status.status)) throw failing.get(status.status)
        statuses.push(status)
      },
      onUnknown: async (unknown) => {
        if (failing.has(unknown.what)) throw failing.get(unknown.what)
        unknowns.push(unknown)
      },
    }

    async function start(options: Partial<WebhooksOptions> = {}, ...before: RequestHandler[]): Promise<string> {
      const router = webhooks({ secrets: SECRET, verifyToken: 'token', ...all, ...options })
      const app = express()
      for (const handler of before) app.use(handler)
      app.use(router)
      app.use(((error: Error & { status?: number }, _req, res, next) => {
        errors.push(error)
        if (res.headersSent) next(error)
        else res.status(error.status ?? 500).json({ handler: error.message })
      }) as ErrorRequestHandler)
      // Express prints unanswered errors, except in tests.
      app.set('env', 'test')
      const server = await serve(app)
      undo.push(
        () => router.close(),
        () => server.stop(),
      )
      return server.url
    }

    function post(url: string, payload: object | string | Buffer, path = 'whatsapp'): supertest.Test {
      const body = typeof payload === 'string' || Buffer.isBuffer(payload) ? payload : JSON.stringify(payload)
      return supertest(url)
        .post(`/${path}`)
        .set('Content-Type', 'application/json')
        .set('X-Hub-Signature-256', signature(body))
        .send(body)
        .serialize((data) => data)
    }

    function listen(name: string): unknown[] {
      const messages: unknown[] = []
      const note = (message: unknown): void => void messages.push(message)
      subscribe(name, note)
      undo.push(() => unsubscribe(name, note))
      return messages
    }

    describe('with a message that fails', () => {
      const payload = whatsAppPayload([
        textFrom('111', 'a1'),
        textFrom('222', 'b1'),
        textFrom('111', 'a2'),
        textFrom('333', 'c1'),
        textFrom('222', 'b2'),
      ])

      it('handle all other conversations, keep its own waiting, and make the provider retry', async () => {
        const reported = listen(diagnostics.webhookError)
        const url = await start()
        failing.set('a1', new Error('database is down'))
        const answer = await post(url, payload)
        expect([answer.status, answer.body]).to.deep.equal([500, { handler: 'database is down' }])
        expect(handled).to.deep.equal(['b1', 'c1', 'b2'])
        expect(reported).to.deep.equal([
          {
            provider: 'whatsapp',
            accountId: '106540352242922',
            messageId: 'a1',
            operation: 'onMessage',
            error: failing.get('a1'),
          },
        ])
        failing.clear()
        expect((await post(url, payload)).body).to.deep.equal({ received: 2 })
        expect(handled, 'in order, and none twice').to.deep.equal(['b1', 'c1', 'b2', 'a1', 'a2'])
      })

      it('handle other accounts and other entries', async () => {
        const url = await start()
        const message = (id: string): object => messagingEvent({ mid: id, text: id })
        const [entry] = (messagingPayload('page', [message('first'), message('same')]) as { entry: object[] }).entry
        const other = { ...entry, id: '7', messaging: [message('other')] }
        failing.set('first', new Error('no'))
        const delivery = { object: 'page', entry: [entry, other] }
        expect((await post(url, delivery, 'messenger')).status).to.equal(500)
        expect(handled).to.deep.equal(['other'])
      })

      it('answer 5xx, independent of the error', async () => {
        const url = await start()
        const client = Object.assign(new Error('teapot'), { statusCode: 418 })
        for (const failure of [new RequestError('ERR_SSE_FORBIDDEN', 'no'), client, 'router', undefined, 0]) {
          failing.set('a1', failure)
          expect((await post(url, payload)).status, String(failure)).to.be.within(500, 599)
        }
      })

      it('report every failure, and pass the first one to Express', async () => {
        const reported = listen(diagnostics.webhookError)
        const url = await start()
        for (const text of ['a1', 'b1']) failing.set(text, new Error(text))
        expect((await post(url, payload)).body).to.deep.equal({ handler: 'a1' })
        expect(reported).to.have.length(2)
        expect(handled).to.deep.equal(['c1'])
      })

      it('wait no longer than its claim, and mark it as handled if it succeeds later', async () => {
        const clock = new FakeClock()
        let begun = (): void => undefined
        const hasBegun = new Promise<void>((resolve) => {
          begun = resolve
        })
        let finish = (): void => undefined
        const url = await start({
          clock,
          claimTtlMs: 1000,
          onMessage: ({ text }) => {
            handled.push(text)
            if (text !== 'a1') return undefined
            begun()
            return new Promise<void>((resolve) => {
              finish = resolve
            })
          },
        })
        const first = post(url, payload).then((answer) => answer)
        await hasBegun
        clock.advance(1000)
        const answer = await first
        expect([answer.status, answer.body.handler]).to.deep.equal([503, 'onMessage did not settle within 1000 ms'])
        expect(handled).to.deep.equal(['a1', 'b1', 'c1', 'b2'])
        finish()
        expect((await post(url, payload)).body).to.deep.equal({ received: 1 })
        expect(handled.slice(4)).to.deep.equal(['a2'])
      })

      it('tolerate a handler that settles after the router was closed', async () => {
        const clock = new FakeClock()
        const memory = new MemoryStore({ clock })
        let finish = (): void => undefined
        const onMessage = (): Promise<void> => {
          setImmediate(() => clock.advance(1000))
          return new Promise((resolve) => {
            finish = resolve
          })
        }
        const router = webhooks({
          ...all,
          secrets: SECRET,
          verifyToken: 'token',
          clock,
          store: memory,
          claimTtlMs: 1000,
          onMessage,
        })
        const app = express()
        app.set('env', 'test')
        const server = await serve(app.use(router))
        undo.push(() => server.stop())
        expect((await post(server.url, whatsAppPayload([textFrom('111', 'a1')]))).status).to.equal(503)
        await router.close()
        await memory.close()
        finish()
      })

      it('stop after two store failures in a row, but not after a single one', async () => {
        const memory = new MemoryStore()
        const claimed: string[] = []
        let broken = (key: string): boolean => key.endsWith('a1')
        const store: KeyValueStore = {
          get: (keys) => memory.get(keys),
          set: (key, value, ttlMs) => memory.set(key, value, ttlMs),
          claim: (key, value, ttlMs) => {
            claimed.push(key)
            return broken(key) ? Promise.reject(new Error('store')) : memory.claim(key, value, ttlMs)
          },
          take: (key) => memory.take(key),
          delete: (key) => memory.delete(key),
          close: () => memory.close(),
        }
        undo.push(() => memory.close())
        const url = await start({ store })
        expect((await post(url, payload)).status).to.equal(503)
        expect(handled).to.deep.equal(['b1', 'c1', 'b2'])
        broken = () => true
        claimed.length = 0
        expect((await post(url, payload)).status).to.equal(503)
        expect(claimed).to.deep.equal(['webhook:whatsapp:a1', 'webhook:whatsapp:b1'])
      })

      function storeThat(claim: () => Promise<boolean>, clock: FakeClock): KeyValueStore {
        const memory = new MemoryStore({ clock })
        undo.push(() => memory.close())
        return {
          get: (keys) => memory.get(keys),
          set: (key, value, ttlMs) => memory.set(key, value, ttlMs),
          claim,
          take: (key) => memory.take(key),
          delete: (key) => memory.delete(key),
          close: () => memory.close(),
        }
      }

      it('wait no longer than 10 s for a store that never answers', async () => {
        const clock = new FakeClock()
        let tick = (): void => undefined
        const claim = (): Promise<boolean> => {
          // After the time-out was set.
          setImmediate(() => tick())
          return new Promise(() => undefined)
        }
        const url = await start({ clock, store: storeThat(claim, clock) })
        tick = () => clock.advance(10_000)
        expect((await post(url, payload)).status).to.equal(503)
        expect(handled).to.deep.equal([])
      })

      it('handle nothing if the store returns values of the wrong type', async () => {
        const clock = new FakeClock()
        const url = await start({ clock, store: storeThat(async () => 'yes' as unknown as boolean, clock) })
        expect((await post(url, payload)).status).to.equal(503)
        expect(handled).to.deep.equal([])
      })
    })

    describe('of WhatsApp users without a number', () => {
      const contact = { profile: { name: 'Sheena Nelson' }, user_id: 'US.13491208655302741918' }
      const cases: Record<string, [message: object, contacts: readonly object[]]> = {
        'an empty from and from_user_id': [{ from: '', from_user_id: contact.user_id }, [contact]],
        'no from and from_user_id': [
          { from: undefined, from_user_id: contact.user_id },
          [{ user_id: 'US.1' }, contact],
        ],
        'from_user_id and no contacts': [{ from: null, from_user_id: contact.user_id }, []],
        'neither, and one contact': [{ from: undefined }, [contact]],
        'an empty from, and one contact with an empty number': [{ from: '' }, [{ ...contact, wa_id: '' }]],
      }
      for (const [what, [message, contacts]] of Object.entries(cases)) {
        it(`are handled: ${what}`, async () => {
          const messages: InboundMessage[] = []
          const url = await start({ onMessage: (each) => void messages.push(each) })
          const payload = whatsAppPayload([{ ...whatsAppText('1'), ...message }], { contacts })
          expect((await post(url, payload)).body).to.deep.equal({ received: 1 })
          expect(messages[0]).to.include({ from: contact.user_id, fromUserId: contact.user_id })
          if (contacts.includes(contact)) expect(messages[0]).to.include({ fromName: 'Sheena Nelson' })
          expect(unknowns).to.deep.equal([])
        })
      }

      it('have the number if there is one, and also the id', async () => {
        const messages: InboundMessage[] = []
        const url = await start({ onMessage: (each) => void messages.push(each) })
        const contacts = [{ ...contact, wa_id: '16505551234' }]
        await post(url, whatsAppPayload([whatsAppText('1')], { contacts }))
        expect(messages[0]).to.include({ from: '16505551234', fromUserId: contact.user_id, fromName: 'Sheena Nelson' })
      })

      it('are passed on raw if several contacts are possible', async () => {
        const url = await start()
        const raw = { ...whatsAppText('1'), from: undefined }
        await post(url, whatsAppPayload([raw], { contacts: [contact, { user_id: 'US.2' }] }))
        expect(unknowns).to.deep.equal([
          {
            provider: 'whatsapp',
            accountId: '106540352242922',
            reason: 'malformed',
            what: 'message',
            raw: JSON.parse(JSON.stringify(raw)),
          },
        ])
      })
    })

    describe('of Instagram', () => {
      const value = {
        sender: { id: '12334' },
        recipient: { id: '23245' },
        timestamp: '1527459824',
        message: { mid: 'mid', text: 'Hello' },
      }
      const changes = (...given: object[]): object => ({
        object: 'instagram',
        entry: [{ id: '23245', time: 1, changes: given }],
      })

      it('are read from entry[].changes[], in seconds and in milliseconds', async () => {
        const messages: InboundMessage[] = []
        const url = await start({ onMessage: (each) => void messages.push(each) })
        for (const [mid, timestamp] of [
          ['1', '1527459824'],
          ['2', 1_527_459_824_000],
        ] as const) {
          const change = { field: 'messages', value: { ...value, timestamp, message: { mid, text: 'Hello' } } }
          expect((await post(url, changes(change), 'instagram')).body).to.deep.equal({ received: 1 })
        }
        for (const message of messages) {
          expect(message).to.include({
            provider: 'instagram',
            accountId: '23245',
            from: '12334',
            text: 'Hello',
            at: 1_527_459_824_000,
          })
        }
        expect(messages).to.have.length(2)
      })

      it('pass on other fields raw, and statuses as statuses', async () => {
        const url = await start()
        const comment = { field: 'comments', value: { id: '1', text: 'Nice' } }
        const postback = {
          field: 'messaging_postbacks',
          value: { ...value, message: undefined, postback: { mid: 'm' } },
        }
        const seen = { field: 'messaging_seen', value: { ...value, message: undefined, read: { mid: 'm' } } }
        expect((await post(url, changes(comment, postback, seen), 'instagram')).body).to.deep.equal({ received: 0 })
        expect(unknowns.map(({ reason, what }) => `${reason} ${what}`)).to.deep.equal([
          'unsupported comments',
          'unsupported postback',
        ])
        expect(unknowns[0]?.raw).to.deep.equal(comment)
        expect(statuses).to.have.length(1)
        expect(statuses[0]).to.include({ messageId: 'm', to: '12334', status: 'read', at: 1_527_459_824_000 })
      })
    })

    describe('with statuses', () => {
      it('pass on each once, with the message and the customer', async () => {
        const url = await start()
        for (let i = 0; i < 2; i++) expect((await post(url, whatsAppStatuses())).body).to.deep.equal({ received: 0 })
        expect(statuses).to.have.length(1)
        const { raw, ...status } = statuses[0] as InboundStatus
        expect(status).to.deep.equal({
          provider: 'whatsapp',
          accountId: '106540352242922',
          messageId: 'wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBI3MTE5MjVBOTE3MDk5QUVFM0YA',
          to: '16505551234',
          status: 'delivered',
          at: 1_750_263_773_000,
        })
        expect(raw).to.deep.include({ pricing: { billable: true, pricing_model: 'PMP', category: 'service' } })
        expect(unknowns).to.deep.equal([])
      })

      it('pass on reports of Messenger by id or by time', async () => {
        const url = await start()
        const event = (rest: object): object => ({ ...messagingEvent({}), message: undefined, ...rest })
        const events = [
          event({ delivery: { mids: ['m1', 'm2'], watermark: 1_458_668_856_253 } }),
          event({ read: { watermark: 1_458_668_856_253 } }),
        ]
        await post(url, messagingPayload('page', events), 'messenger')
        expect(statuses.map(({ messageId, upTo, status, to }) => [messageId, upTo, status, to])).to.deep.equal([
          ['m1', undefined, 'delivered', '6194012387301'],
          ['m2', undefined, 'delivered', '6194012387301'],
          [undefined, 1_458_668_856_253, 'read', '6194012387301'],
        ])
      })

      it('make the provider retry if one fails', async () => {
        const url = await start()
        failing.set('delivered', new Error('no'))
        expect((await post(url, whatsAppStatuses())).status).to.equal(500)
        failing.clear()
        expect((await post(url, whatsAppStatuses())).status).to.equal(200)
        expect(statuses).to.have.length(1)
      })

      it('ignore them without onStatus', async () => {
        const reported = listen(diagnostics.webhookUnknown)
        const url = await start({ onStatus: undefined as never })
        expect((await post(url, whatsAppStatuses())).status).to.equal(200)
        expect(reported).to.deep.equal([])
      })
    })

    describe('with unknown parts', () => {
      const change = { field: 'account_update', value: { event: 'VERIFIED_ACCOUNT' } }
      const payload = { object: 'whatsapp_business_account', entry: [{ id: '1', changes: [change] }, 7] }

      it('publish them to diagnostics, and pass them on once for a delivery', async () => {
        const reported = listen(diagnostics.webhookUnknown)
        const url = await start()
        for (let i = 0; i < 2; i++) expect((await post(url, payload)).body).to.deep.equal({ received: 0 })
        const expected = [
          { provider: 'whatsapp', reason: 'unsupported', what: 'account_update', raw: change },
          { provider: 'whatsapp', reason: 'malformed', what: 'entry', raw: 7 },
        ]
        expect(unknowns).to.deep.equal(expected)
        expect(reported).to.deep.equal([...expected, ...expected])
      })

      it('publish them to diagnostics without onUnknown', async () => {
        const reported = listen(diagnostics.webhookUnknown)
        const url = await start({ onUnknown: undefined as never })
        expect((await post(url, payload)).status).to.equal(200)
        expect(reported).to.have.length(2)
      })

      it('warn once for each kind without onUnknown and subscribers', async () => {
        const warnings: string[] = []
        const note = ({ message }: Error): void => void warnings.push(message)
        process.on('warning', note)
        undo.push(() => process.off('warning', note))
        const url = await start({ onUnknown: undefined as never })
        const own = { ...payload, entry: [{ changes: [{ field: `field_${name.at(-1)}` }] }] }
        for (let i = 0; i < 2; i++) await post(url, own)
        expect(warnings.filter((message) => message.includes(`field_${name.at(-1)}`))).to.have.length(1)
      })

      it('make the provider retry if onUnknown fails', async () => {
        const url = await start()
        failing.set('account_update', new Error('no'))
        expect((await post(url, payload)).status).to.equal(500)
        failing.clear()
        expect((await post(url, payload)).status).to.equal(200)
        expect(unknowns.map(({ what }) => what)).to.deep.equal(['entry', 'account_update'])
      })

      it('name every event of Messenger that is not a message or a status', async () => {
        const url = await start()
        const event = (rest: object): object => ({ ...messagingEvent({}), message: undefined, ...rest })
        const events = [
          messagingEvent({ mid: 'm', text: 'our own', is_echo: true }),
          messagingEvent({ mid: 'm', is_deleted: true }),
          messagingEvent({ text: 'no id' }),
          event({ postback: { payload: 'START' } }),
          event({ reaction: { emoji: '❤️' } }),
          event({}),
          null,
        ]
        const standby = [messagingEvent({ mid: 'm', text: "another app's" })]
        await post(url, messagingPayload('page', events as object[], { standby }), 'messenger')
        expect(unknowns.map(({ reason, what }) => `${reason} ${what}`)).to.deep.equal([
          'left_out echo',
          'left_out deleted',
          'malformed message',
          'unsupported postback',
          'unsupported reaction',
          'malformed event',
          'malformed event',
          'left_out standby',
        ])
      })

      it('answer any JSON, with any depth and any names', async () => {
        const url = await start()
        const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
        const hostile = '{"toString":1,"valueOf":1,"__proto__":{"id":"1"},"constructor":null}'
        const places = (what: string): string[] => [
          `{"object":"whatsapp_business_account","entry":[${what}]}`,
          `{"object":"whatsapp_business_account","entry":[{"changes":[${what}]}]}`,
          `{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"metadata":{"phone_number_id":"1"},"contacts":[${what}],"messages":[${what},{"id":"1","from":"1","timestamp":${what},"type":${what},"text":${what}}],"statuses":[${what},{"id":"2","status":"sent","recipient_id":${what},"timestamp":${what}}],"errors":${what}}}]}]}`,
          `{"object":"page","entry":[{"id":"1","messaging":[${what},{"sender":{"id":"1"},"timestamp":${what},"message":{"mid":"3","text":${what},"attachments":[${what}]}},{"sender":${what},"read":${what}},{"sender":${what},"delivery":{"mids":[${what}],"watermark":${what}}}]}]}`,
          `{"object":"page","entry":[{"id":"1","changes":[{"field":"messages","value":{"sender":{"id":"1"},"timestamp":${what},"message":{"mid":"4"}}}]}]}`,
        ]
        for (const what of [deep, hostile, 'null', '[]', '"\\ud800"', '1e999', '-0']) {
          for (const body of places(what)) {
            for (const path of ['whatsapp', 'messenger', 'instagram']) {
              expect((await post(url, body, path)).status, `${path} ${body.slice(0, 200)}`).to.be.oneOf([200, 400])
            }
          }
        }
        expect(errors).to.deep.equal([])
      })
    })

    describe('whose body a platform has parsed', () => {
      const body = Buffer.from(JSON.stringify(whatsAppPayload([whatsAppText('1', 'Grüße')])))
      const kept: Record<string, (bytes: Buffer) => unknown> = {
        'a Buffer': (bytes) => bytes,
        'a string': (bytes) => bytes.toString(),
        'a Uint8Array': (bytes) => new Uint8Array(bytes),
      }
      for (const [what, keep] of Object.entries(kept)) {
        it(`are read from req.rawBody: ${what}`, async () => {
          const parser = express.json({ verify: (req, _res, bytes) => Object.assign(req, { rawBody: keep(bytes) }) })
          const url = await start({}, parser)
          expect((await post(url, body)).body).to.deep.equal({ received: 1 })
          expect(handled).to.deep.equal(['Grüße'])
        })
      }

      it('are refused if req.rawBody is too large, not signed, or not bytes', async () => {
        let rawBody: unknown = body
        const parser = express.json({ verify: (req) => Object.assign(req, { rawBody }) })
        const small = await start({ maxBodyBytes: 10 }, parser)
        expect((await post(small, body)).status).to.equal(413)
        const url = await start({}, parser)
        for (const [given, status] of [
          ['', 401],
          ['{}', 401],
          [Buffer.from(`${body} `), 401],
          [{ length: 3 }, 500],
          [true, 500],
        ] as const) {
          rawBody = given
          expect((await post(url, body)).status, String(given)).to.equal(status)
        }
        expect(handled).to.deep.equal([])
      })
    })
  })
}
