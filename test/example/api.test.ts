import { expect } from 'chai'
import request from 'supertest'
import { createApp } from '../../example/server/app.js'
import { ConfigError, readConfig } from '../../example/server/config.js'
import type { Conversation, Message } from '../../example/server/store/inbox-store.js'
import type { SseClient } from '../helpers/sse-client.js'
import { messengerPayload, TestInbox, whatsAppPayload } from './harness.js'

interface List<Item> {
  readonly items: readonly Item[]
  readonly cursor: string
}

describe("the example's HTTP surface", () => {
  let inbox: TestInbox
  let dana: string
  let gus: string

  beforeEach(async () => {
    inbox = await TestInbox.start()
    dana = await inbox.signIn('dana', 'acme')
    gus = await inbox.signIn('gus', 'globex')
  })

  afterEach(() => inbox.stop())

  async function conversations(token: string): Promise<List<Conversation>> {
    return (await inbox.call('GET', '/api/v1/conversations', { token })).body as List<Conversation>
  }

  async function messages(id: string, token: string): Promise<List<Message>> {
    return (await inbox.call('GET', `/api/v1/conversations/${id}/messages`, { token })).body as List<Message>
  }

  function reply(id: string, text: unknown, headers: Record<string, string> = {}) {
    return inbox.call('POST', `/api/v1/conversations/${id}/messages`, { token: dana, body: { text }, headers })
  }

  function dataOf(event: { readonly data: string } | undefined): Record<string, unknown> {
    return JSON.parse(event?.data ?? '{}') as Record<string, unknown>
  }

  it('reports that it is alive and ready', async () => {
    expect((await inbox.call('GET', '/healthz')).status).to.equal(200)
    const ready = await inbox.call('GET', '/readyz')
    expect(ready.status).to.equal(200)
    expect(ready.body).to.deep.include({ status: 'ready', checks: { broker: true, store: true } })
    await inbox.services.multiplexer.close()
    expect((await inbox.call('GET', '/readyz')).status).to.equal(503)
    expect((await inbox.call('GET', '/healthz')).status).to.equal(200)
  })

  describe('sign-in', () => {
    it('issues a token for an hour, or for less on request', async () => {
      const login = (body: unknown) => inbox.call('POST', '/api/v1/auth/login', { body })
      expect((await login({ user: 'dana', tenant: 'acme' })).body).to.have.property('expiresInMs', 3_600_000)
      let stream: SseClient
      // A busy machine may open the stream only when the token has expired.
      do {
        const short = (await login({ user: 'dana', tenant: 'acme', expiresInS: 1 })).body as { token: string }
        expect(short).to.have.property('expiresInMs', 1000)
        stream = await inbox.stream('/conversations', short.token)
      } while (stream.status === 401)
      await stream.control('sse.expired')
    })

    for (const [what, body] of [
      ['no name', { tenant: 'acme' }],
      ['a name with a space', { user: 'da na', tenant: 'acme' }],
      ['an unknown tenant', { user: 'dana', tenant: 'initech' }],
      ['a tenant that every object has', { user: 'dana', tenant: 'constructor' }],
      ['a life that is too long', { user: 'dana', tenant: 'acme', expiresInS: 3601 }],
      ['no object', null],
    ] as const) {
      it(`refuses ${what} with a coded 400`, async () => {
        const answer = await inbox.call('POST', '/api/v1/auth/login', { body })
        expect(answer.status).to.equal(400)
        expect(answer.body)
          .to.have.property('code')
          .that.matches(/^ERR_INBOX_/)
        expect(answer.headers.get('content-type')).to.contain('application/problem+json')
      })
    }

    it('refuses a body that is not JSON with a coded 400', async () => {
      const app = createApp({ ...inbox.services, config: inbox.config, log: () => undefined })
      await request(app)
        .post('/api/v1/auth/login')
        .set('Content-Type', 'application/json')
        .send('{"user":')
        .expect(400)
        .expect('Content-Type', /^application\/problem\+json/)
        .expect(({ body, text }) => expect(JSON.parse(text) ?? body).to.have.property('code', 'ERR_INBOX_BODY_INVALID'))
    })

    it('is required for all routes of the API', async () => {
      for (const path of [
        '/dashboard/init',
        '/conversations',
        '/conversations/demo-lena/messages',
        '/sse/conversations',
      ]) {
        const answer = await inbox.call('GET', `/api/v1${path}`)
        expect([path, answer.status]).to.deep.equal([path, 401])
        expect(answer.body).to.have.property('code', 'ERR_SSE_TOKEN_MISSING')
      }
    })
  })

  it('answers with the data of a dashboard in one request', async () => {
    const { status, body } = await inbox.call('GET', '/api/v1/dashboard/init', { token: dana })
    expect(status).to.equal(200)
    expect(body).to.have.all.keys('profile', 'tenant', 'features', 'channels')
    expect(body).to.deep.include({ profile: { user: 'dana', name: 'Dana', role: 'agent' } })
  })

  it('serves the page and its security headers, and a 404 with a code elsewhere', async () => {
    const page = await inbox.call('GET', '/')
    expect(page.status).to.be.oneOf([200, 503])
    expect(page.headers.get('content-security-policy')).to.contain("default-src 'self'")
    expect(page.headers.get('x-content-type-options')).to.equal('nosniff')
    const other = await inbox.call('GET', '/nothing/here')
    expect([other.status, (other.body as { code: string }).code]).to.deep.equal([404, 'ERR_INBOX_NOT_FOUND'])
    expect((await inbox.call('GET', '/api/v1/conversations/%E0%A4%A/messages', { token: dana })).status).to.equal(404)
  })

  describe('a reply', () => {
    it('is answered with 201, stored, and sent to both streams', async () => {
      const [list, thread] = [
        await inbox.stream('/conversations', dana),
        await inbox.stream('/messages/demo-lena', dana),
      ]
      const answer = await reply('demo-lena', '  On Saturday from nine.  ')
      expect(answer.status).to.equal(201)
      const message = answer.body as Message
      expect(message).to.deep.include({
        conversation_id: 'demo-lena',
        direction: 'out',
        text: 'On Saturday from nine.',
        from: 'dana',
      })
      expect(new Date(message.at).toISOString()).to.equal(message.at)
      await Promise.all([list.messagesUntil(1), thread.messagesUntil(1)])
      expect(thread.messages[0]?.event).to.equal('message')
      expect(dataOf(thread.messages[0])).to.deep.equal(message)
      expect(list.messages[0]?.event).to.equal('new_message')
      const data = dataOf(list.messages[0])
      expect(data).to.deep.include({ type: 'new_message', conversation_id: 'demo-lena', message })
      expect(data.conversation).to.deep.include({ id: 'demo-lena', lastText: message.text, contact: 'Lena Fischer' })
      expect((await messages('demo-lena', dana)).items.at(-1)).to.deep.equal(message)
      expect((await conversations(dana)).items[0]).to.deep.equal(data.conversation)
    })

    it('is the same message when it is sent again with the same key', async () => {
      const thread = await inbox.stream('/messages/demo-lena', dana)
      const list = await inbox.stream('/conversations', dana)
      const key = { 'Idempotency-Key': 'key-1' }
      const [first, again] = [await reply('demo-lena', 'Once', key), await reply('demo-lena', 'Once', key)]
      expect([first.status, again.status]).to.deep.equal([201, 201])
      expect(again.body).to.deep.equal(first.body)
      await reply('demo-tomas', 'Once', key)
      await reply('demo-lena', 'Twice')
      await Promise.all([thread.messagesUntil(2), list.messagesUntil(3)])
      expect(thread.messages.map((event) => dataOf(event).text)).to.deep.equal(['Once', 'Twice'])
      expect(list.messages.map((event) => dataOf(event).conversation_id)).to.deep.equal([
        'demo-lena',
        'demo-tomas',
        'demo-lena',
      ])
      const other = await reply('demo-lena', 'Something else', key)
      expect([other.status, (other.body as { code: string }).code]).to.deep.equal([422, 'ERR_INBOX_KEY_REUSED'])
    })

    for (const [what, text] of [
      ['nothing', undefined],
      ['blanks', ' \n '],
      ['a number', 7],
      ['4,097 characters', 'x'.repeat(4097)],
    ] as const) {
      it(`is refused with a coded 400 if it is ${what}`, async () => {
        const answer = await reply('demo-lena', text)
        expect([answer.status, (answer.body as { code: string }).code]).to.deep.equal([400, 'ERR_INBOX_TEXT_INVALID'])
      })
    }

    it('may have 4,096 characters, and its key only visible ones', async () => {
      expect((await reply('demo-lena', 'x'.repeat(4096))).status).to.equal(201)
      const answer = await reply('demo-lena', 'text', { 'Idempotency-Key': 'with space' })
      expect([answer.status, (answer.body as { code: string }).code]).to.deep.equal([400, 'ERR_INBOX_KEY_INVALID'])
    })
  })

  it('clears the badge of a conversation that was read, and notifies the stream once', async () => {
    const list = await inbox.stream('/conversations', dana)
    for (let i = 0; i < 2; i++) {
      expect((await inbox.call('POST', '/api/v1/conversations/demo-lena/read', { token: dana })).status).to.equal(204)
    }
    await reply('demo-lena', 'Hello')
    await list.messagesUntil(2)
    expect(list.messages.map(({ event }) => event)).to.deep.equal(['conversation_read', 'new_message'])
    expect((await conversations(dana)).items.map(({ unread }) => unread)).to.deep.equal([0, 0, 0])
  })

  it("hides another tenant's conversations", async () => {
    const calls = [
      ['GET', '/api/v1/conversations/demo-lena/messages'],
      ['POST', '/api/v1/conversations/demo-lena/messages'],
      ['POST', '/api/v1/conversations/demo-lena/read'],
      ['GET', '/api/v1/conversations/unknown/messages'],
    ] as const
    for (const [method, path] of calls) {
      const options = { token: gus, ...(method === 'POST' && { body: { text: 'hello' } }) }
      const answer = await inbox.call(method, path, options)
      expect([path, answer.status]).to.deep.equal([path, 404])
      expect(answer.body).to.have.property('code', 'ERR_INBOX_CONVERSATION_NOT_FOUND')
      expect(answer.headers.get('content-type')).to.contain('application/problem+json')
    }
    expect((await inbox.stream('/messages/demo-lena', gus)).status).to.equal(403)
    expect((await inbox.stream('/messages/unknown', dana)).status).to.equal(403)
    expect((await conversations(gus)).items.map(({ id }) => id)).to.deep.equal(['demo-omar', 'demo-yuki'])
    expect((await messages('demo-lena', dana)).items).to.have.length(6)
  })

  it('returns lists with a cursor that misses no event between list and stream', async () => {
    const [list, thread] = [await conversations(dana), await messages('demo-lena', dana)]
    const sent = (await reply('demo-lena', 'in between')).body as Message
    const [listStream, threadStream] = [
      await inbox.stream('/conversations', dana, list.cursor),
      await inbox.stream('/messages/demo-lena', dana, thread.cursor),
    ]
    await Promise.all([listStream.messagesUntil(1), threadStream.messagesUntil(1)])
    expect(dataOf(threadStream.messages[0])).to.deep.equal(sent)
    expect(dataOf(listStream.messages[0]).message).to.deep.equal(sent)
    expect(threadStream.events.map(({ event }) => event)).to.deep.equal(['sse.open', 'message'])
    const after = await messages('demo-lena', dana)
    const fresh = await inbox.stream('/messages/demo-lena', dana, after.cursor)
    await reply('demo-lena', 'later')
    await fresh.messagesUntil(1)
    expect(dataOf(fresh.messages[0]).text).to.equal('later')
  })

  describe('a webhook', () => {
    it('is verified with the verify token', async () => {
      const query = 'hub.mode=subscribe&hub.verify_token=dev-verify-token&hub.challenge=1158201444'
      for (const provider of ['whatsapp', 'messenger', 'instagram']) {
        expect((await inbox.call('GET', `/webhooks/${provider}?${query}`)).text).to.equal('1158201444')
      }
      expect((await inbox.call('GET', `/webhooks/whatsapp?${query.replace('dev', 'bad')}`)).status).to.equal(403)
    })

    it('becomes a message in a new conversation, on both streams', async () => {
      const list = await inbox.stream('/conversations', dana)
      const at = Date.parse('2026-03-01T10:00:00Z')
      expect((await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Hello', at }))).status).to.equal(
        200,
      )
      await list.messagesUntil(1)
      const id = 'wa-106540352242922-16315551234'
      const message = {
        id: 'wamid.1',
        conversation_id: id,
        direction: 'in',
        text: 'Hello',
        from: '16315551234',
        at: '2026-03-01T10:00:00.000Z',
      }
      expect(dataOf(list.messages[0])).to.deep.equal({
        type: 'new_message',
        conversation_id: id,
        message,
        conversation: {
          id,
          provider: 'whatsapp',
          accountId: '106540352242922',
          contact: 'Kerry Fisher',
          lastText: 'Hello',
          lastAt: message.at,
          unread: 1,
        },
      })
      const thread = await inbox.stream(`/messages/${id}`, dana)
      await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.2', text: 'Anyone?' }))
      await thread.messagesUntil(1)
      expect(dataOf(thread.messages[0])).to.deep.include({ id: 'wamid.2', text: 'Anyone?', conversation_id: id })
      expect((await messages(id, dana)).items.map(({ id: each }) => each)).to.deep.equal(['wamid.1', 'wamid.2'])
    })

    it('goes to the tenant that has the account, by provider', async () => {
      const [acme, globex] = [await inbox.stream('/conversations', dana), await inbox.stream('/conversations', gus)]
      await inbox.deliver('messenger', messengerPayload('page', '1906385232743451', 'mid.1', 'to acme'))
      await inbox.deliver('instagram', messengerPayload('instagram', '17841405822304914', 'mid.2', 'to globex'))
      await inbox.deliver('messenger', messengerPayload('page', '17841405822304914', 'mid.3', 'to no one'))
      await Promise.all([acme.messagesUntil(1), globex.messagesUntil(1)])
      await inbox.call('POST', '/api/v1/conversations/demo-omar/messages', { token: gus, body: { text: 'last' } })
      await globex.messagesUntil(2)
      expect(acme.messages.map((event) => dataOf(event).conversation_id)).to.deep.equal([
        'ms-1906385232743451-4801234567890123',
      ])
      expect(globex.messages.map((event) => dataOf(event).conversation_id)).to.deep.equal([
        'ig-17841405822304914-4801234567890123',
        'demo-omar',
      ])
    })

    it('for an unknown account is accepted, and logged once', async () => {
      for (const id of ['wamid.1', 'wamid.2']) {
        const payload = whatsAppPayload({ id, text: 'Hello', phoneNumberId: '999' })
        expect((await inbox.deliver('whatsapp', payload)).status).to.equal(200)
      }
      expect(inbox.log).to.deep.equal([['warn', 'webhook.account_unknown', { provider: 'whatsapp', accountId: '999' }]])
    })

    it('with a wrong signature changes nothing', async () => {
      expect((await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'x' }), 'guess')).status).to.equal(
        401,
      )
      expect((await conversations(dana)).items).to.have.length(3)
    })

    it('that is retried after a partial failure completes the rest, and repeats nothing', async () => {
      const { multiplexer } = inbox.services
      const list = await inbox.stream('/conversations', dana)
      const publish = multiplexer.publish.bind(multiplexer)
      multiplexer.publish = async (channel, event, options) => {
        if (channel.startsWith('messages:')) throw new Error('the broker is unavailable')
        return publish(channel, event, options)
      }
      const payload = whatsAppPayload({ id: 'wamid.1', text: 'Hello' })
      expect((await inbox.deliver('whatsapp', payload)).status).to.equal(500)
      multiplexer.publish = publish
      const id = 'wa-106540352242922-16315551234'
      const thread = await inbox.stream(`/messages/${id}`, dana)
      for (let i = 0; i < 3; i++) expect((await inbox.deliver('whatsapp', payload)).status).to.equal(200)
      await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.2', text: 'Next' }))
      await Promise.all([thread.messagesUntil(2), list.messagesUntil(2)])
      expect(thread.messages.map((event) => dataOf(event).id)).to.deep.equal(['wamid.1', 'wamid.2'])
      expect(list.messages.map((event) => (dataOf(event).message as Message).id)).to.deep.equal(['wamid.1', 'wamid.2'])
      expect((await conversations(dana)).items[0]?.unread).to.equal(2)
    })
  })
})

describe("the example's configuration", () => {
  const production = {
    NODE_ENV: 'production',
    JWT_SECRET: 'x'.repeat(32),
    WEBHOOK_SECRET: 'w'.repeat(16),
    WEBHOOK_VERIFY_TOKEN: 'v'.repeat(8),
    INTERNAL_PORT: '0',
  }

  it('has a default for every value in development, and treats an empty value as absent', () => {
    const config = readConfig({ PORT: '', REDIS_URL: '', JWT_SECRET: ' ' })
    expect(config).to.deep.include({
      production: false,
      port: 3000,
      internal: undefined,
      redis: undefined,
      webhookSecret: 'dev-webhook-secret',
      webhookVerifyToken: 'dev-verify-token',
    })
    expect(config.jwtSecret).to.have.lengthOf.at.least(48)
    expect(config.jwtSecret).to.not.equal(readConfig({}).jwtSecret)
    expect(config.notes.join()).to.contain('JWT_SECRET')
    expect(readConfig(production).notes).to.deep.equal([])
  })

  for (const name of ['JWT_SECRET', 'WEBHOOK_SECRET', 'WEBHOOK_VERIFY_TOKEN']) {
    it(`refuses production without ${name}`, () => {
      expect(() => readConfig({ ...production, [name]: '' })).to.throw(ConfigError, name)
    })
  }

  for (const [name, value] of [
    ['JWT_SECRET', 'x'.repeat(31)],
    ['PORT', '65536'],
    ['PORT', '3000x'],
    ['INTERNAL_PORT', 'http'],
    ['INTERNAL_PORT', '3000'],
    ['REDIS_URL', 'localhost:6379'],
    ['REDIS_URL', 'redis://a:6379,b:6379'],
  ] as const) {
    it(`refuses ${name} ${value}`, () => {
      expect(() => readConfig({ [name]: value })).to.throw(ConfigError, name)
    })
  }

  for (const [name, value] of [
    ['JWT_SECRET', 'x'],
    ['WEBHOOK_SECRET', 'x'],
    ['WEBHOOK_SECRET', 'x'.repeat(15)],
    ['WEBHOOK_SECRET', 'dev-webhook-secret'],
    ['WEBHOOK_VERIFY_TOKEN', 'x'],
    ['WEBHOOK_VERIFY_TOKEN', 'dev-verify-token'],
  ] as const) {
    it(`refuses production with ${name} ${value}`, () => {
      expect(() => readConfig({ ...production, [name]: value })).to.throw(ConfigError, name)
    })
  }

  it('binds the internal port to loopback by default', () => {
    expect(readConfig({ INTERNAL_PORT: '9464' }).internal).to.deep.equal({ port: 9464, host: '127.0.0.1' })
    const { internal } = readConfig({ INTERNAL_PORT: '9464', INTERNAL_HOST: '0.0.0.0' })
    expect(internal).to.deep.equal({ port: 9464, host: '0.0.0.0' })
  })

  it('does not serve health and metrics in production without an internal port, and prints a note', async () => {
    const { INTERNAL_PORT: _, ...unset } = production
    expect(readConfig(unset).notes.join()).to.contain('INTERNAL_PORT is not set')
    const inbox = await TestInbox.start({ environment: { ...unset } })
    for (const path of ['/metrics', '/Metrics', '/metrics/', '/readyz', '/healthz']) {
      expect((await inbox.call('GET', path)).status, path).to.equal(404)
    }
    await inbox.stop()
  })

  it('serves them on the public port in development if no internal port is set', async () => {
    for (const [internal, status] of [
      ['', 200],
      ['9464', 404],
    ] as const) {
      const inbox = await TestInbox.start({ environment: { INTERNAL_PORT: internal } })
      for (const path of ['/metrics', '/readyz', '/healthz']) {
        expect((await inbox.call('GET', path)).status, path + internal).to.equal(status)
      }
      await inbox.stop()
    }
  })

  it('has no demo in production: no sign-in, no seeded conversations', async () => {
    const inbox = await TestInbox.start({ environment: production })
    const answer = await inbox.call('POST', '/api/v1/auth/login', { body: { user: 'dana', tenant: 'acme' } })
    expect([answer.status, (answer.body as { code: string }).code]).to.deep.equal([404, 'ERR_INBOX_NOT_FOUND'])
    expect(await inbox.services.store.listConversations('acme')).to.deep.equal([])
    await inbox.stop()
  })
})
