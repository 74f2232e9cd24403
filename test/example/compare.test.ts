import { expect } from 'chai'
import jwt from 'jsonwebtoken'
import type { TrafficState } from '../../example/server/compare/traffic.js'
import type { Dashboard } from '../../example/web/src/types.js'
import { TestInbox } from './harness.js'

const PATH = '/api/v1/compare/traffic'

describe("the comparison's traffic", () => {
  let inbox: TestInbox
  let token: string

  async function start(environment: Record<string, string> = {}): Promise<void> {
    inbox = await TestInbox.start({ environment })
  }

  afterEach(() => inbox.stop())

  async function ask(method: string): Promise<TrafficState> {
    return (await inbox.call(method, PATH, { token })).body as TrafficState
  }

  it('writes to the reported conversation until it is stopped', async () => {
    await start()
    token = await inbox.signIn('dana', 'acme')
    const { conversationId, endsAt } = await ask('GET')
    expect(endsAt).to.equal(null)
    const stream = await inbox.stream(`/messages/${conversationId}`, token)
    const before = Date.now()
    const started = await ask('POST')
    expect(started.endsAt).to.be.within(before + 120_000, started.now + 120_000)
    await stream.messagesUntil(1)
    expect(JSON.parse(stream.messages[0]?.data ?? '')).to.include({
      conversation_id: conversationId,
      direction: 'in',
      from: '15550100',
    })
    // A second start has no effect.
    expect((await ask('POST')).endsAt).to.equal(started.endsAt)
    expect((await ask('DELETE')).endsAt).to.equal(null)
  })

  it('is separate for each tenant', async () => {
    await start()
    token = await inbox.signIn('gus', 'globex')
    expect((await ask('POST')).conversationId).to.match(/^ig-/)
    token = await inbox.signIn('dana', 'acme')
    expect(await ask('GET')).to.include({ endsAt: null })
  })

  it('requires a sign-in', async () => {
    await start()
    expect((await inbox.call('POST', PATH)).status).to.equal(401)
  })

  it('is disabled in production, like its page', async () => {
    await start({ NODE_ENV: 'production', WEBHOOK_SECRET: 'w'.repeat(16), WEBHOOK_VERIFY_TOKEN: 'v'.repeat(8) })
    token = jwt.sign({ tenant: 'acme' }, inbox.config.jwtSecret, { subject: 'dana', expiresIn: 60 })
    const { body } = await inbox.call('GET', '/api/v1/dashboard/init', { token })
    expect((body as Dashboard).features).to.include({ replies: true, comparison: false })
    expect((await inbox.call('POST', PATH, { token })).status).to.equal(404)
    expect((await inbox.call('GET', '/compare')).status).to.equal(404)
  })
})
