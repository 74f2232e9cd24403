import { expect } from 'chai'
import type { Browser, BrowserContextOptions, Page, Route } from 'playwright-core'
import { TestInbox, whatsAppPayload } from '../example/harness.js'
import { eventually } from '../helpers/eventually.js'
import { RedisServer } from '../helpers/redis-server.js'
import { launch, openPage, screenshot } from './browser.js'
import * as inPage from './inbox-page.js'
import { CONVERSATION, DESKTOP } from './inbox-page.js'

describe('the inbox in Chromium', () => {
  let browser: Browser
  let server: RedisServer | undefined
  let inbox: TestInbox
  let page: Page
  let problems: string[]

  before(async () => {
    browser = await launch()
  })

  after(() => browser.close())

  afterEach(async () => {
    await page.context().close()
    await inbox.stop()
    await server?.stop()
    server = undefined
  })

  async function start(options: BrowserContextOptions = DESKTOP, redisUrl?: string): Promise<void> {
    inbox = await TestInbox.start(redisUrl === undefined ? {} : { redisUrl })
    ;({ page, problems } = await openPage(browser, options))
  }

  const signInByLink = (user?: string, tenant?: string) => inPage.signInByLink(page, inbox, user, tenant)
  const connected = () => inPage.connected(page)
  const disconnected = () => inPage.disconnected(page)
  const bubble = (text: string) => inPage.bubble(page, text)
  const row = (id: string) => inPage.row(page, id)

  /** Starts another process on the same port, as a deployment does. */
  async function restart(redisUrl?: string): Promise<void> {
    const { port } = inbox
    await inbox.stop()
    await disconnected()
    inbox = await TestInbox.start({ port, ...(redisUrl !== undefined && { redisUrl }) })
  }

  it('signs in, shows a webhook message without a reload, and sends a reply', async () => {
    await start()
    let loads = 0
    page.on('load', () => loads++)
    await page.goto(inbox.url)
    await page.getByLabel('Your name').fill('dana')
    await page.getByLabel('Company').selectOption('acme')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await connected()
    expect(await page.getByTestId('connection').textContent()).to.equal('Connected')
    await page.getByRole('heading', { name: 'Acme Outdoor' }).waitFor()
    expect(await page.getByTestId('conversations').getByRole('listitem').count()).to.equal(3)

    await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Is my parcel on its way?' }))
    await row(CONVERSATION).getByText('Is my parcel on its way?').waitFor()
    expect(await row(CONVERSATION).getAttribute('data-unread')).to.equal('1')
    expect(await page.getByTestId('conversations').getByRole('link').first().textContent()).to.contain('Kerry Fisher')
    expect(await page.getByTestId('announcement').textContent()).to.equal('Kerry Fisher: Is my parcel on its way?')
    expect(await page.title()).to.equal('(2) Inbox')

    await row(CONVERSATION).click()
    await bubble('Is my parcel on its way?').waitFor()
    await page.locator(`[data-testid=conversation-${CONVERSATION}][data-unread="0"]`).waitFor()
    await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.2', text: 'Order AO-21044' }))
    await bubble('Order AO-21044').waitFor()

    const reply = page.getByTestId('reply')
    await reply.fill('Yes!')
    await reply.press('Shift+Enter')
    await reply.pressSequentially('It left this morning.')
    await reply.press('Enter')
    await bubble('It left this morning.').waitFor()
    expect(await reply.inputValue()).to.equal('')
    await page.getByTestId('pending').waitFor({ state: 'detached' })
    await row(CONVERSATION).getByText('It left this morning.').waitFor()
    expect(await page.getByTestId('message').allInnerTexts()).to.have.length(3)
    const { items } = (
      await inbox.call('GET', `/api/v1/conversations/${CONVERSATION}/messages`, {
        token: await inbox.signIn('dana', 'acme'),
      })
    ).body as { items: { text: string }[] }
    expect(items.at(-1)?.text).to.equal('Yes!\nIt left this morning.')
    expect(loads).to.equal(1)
    expect(problems).to.deep.equal([])
  })

  it('stays signed in after a reload, signs in by link, and signs out', async () => {
    await start()
    await signInByLink('gus', 'globex')
    expect(new URL(page.url()).search).to.equal('')
    await page.getByRole('heading', { name: 'Globex Studio' }).waitFor()
    await page.reload()
    await connected()
    await page.getByTestId('sign-out').click()
    await page.getByTestId('sign-in').waitFor()
    await page.reload()
    await page.getByTestId('sign-in').waitFor()
    expect(problems).to.deep.equal([])
  })

  it('reconnects after a restart on Redis, and shows each message sent meanwhile and after once', async () => {
    server = await RedisServer.start()
    await start(DESKTOP, server.url)
    const beside = await TestInbox.start({ redisUrl: server.url })
    await signInByLink()
    await row('demo-lena').click()
    await bubble('can I pick them up in the shop?').waitFor()
    await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Before the restart' }))
    await row(CONVERSATION).click()
    await bubble('Before the restart').waitFor()

    const stopped = restart(server.url)
    await disconnected()
    await beside.deliver('whatsapp', whatsAppPayload({ id: 'wamid.2', text: 'During the restart' }))
    await stopped
    await connected()
    await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.3', text: 'After the restart' }))
    await bubble('After the restart').waitFor()
    await row(CONVERSATION).getByText('After the restart').waitFor()
    expect(await inPage.textsOf(page)).to.deep.equal(['Before the restart', 'During the restart', 'After the restart'])
    await beside.stop()
    expect(problems).to.deep.equal([])
  })

  it('reloads its lists when a restart lost the logs', async () => {
    await start()
    await signInByLink()
    await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Lost with the process' }))
    await row(CONVERSATION).waitFor()
    await row('demo-lena').click()
    await bubble('can I pick them up in the shop?').waitFor()
    await page.getByTestId('reply').fill('Lost as well')
    await page.getByTestId('reply').press('Enter')
    await bubble('Lost as well').waitFor()
    await page.getByTestId('pending').waitFor({ state: 'detached' })

    await restart()
    await connected()
    await row(CONVERSATION).waitFor({ state: 'detached' })
    await bubble('Lost as well').waitFor({ state: 'detached' })
    const token = await inbox.signIn('sam', 'acme')
    await inbox.call('POST', '/api/v1/conversations/demo-lena/messages', { token, body: { text: 'After the restart' } })
    await bubble('After the restart').waitFor()
    expect(await page.getByTestId('message').count()).to.equal(7)
    expect(problems).to.deep.equal([])
  })

  it('shows an error when a restart lost the open conversation', async () => {
    await start()
    await signInByLink()
    await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Lost with the process' }))
    await row(CONVERSATION).click()
    await bubble('Lost with the process').waitFor()
    await restart()
    await page.getByText('This conversation no longer exists.').waitFor()
    await page.getByRole('link', { name: 'All conversations' }).last().click()
    await page.getByText('Choose a conversation').waitFor()
    await connected()
    expect(problems.filter((problem) => !/40[34]/.test(problem))).to.deep.equal([])
  })

  it('keeps a reply that failed, and sends it once on retry', async () => {
    await start()
    await signInByLink()
    await row('demo-lena').click()
    await bubble('can I pick them up in the shop?').waitFor()
    // The server gets the request; only the response is lost.
    const lose = async (route: Route): Promise<void> => {
      await route.fetch()
      await route.abort()
    }
    await page.route('**/demo-lena/messages', lose, { times: 1 })
    await page.getByTestId('reply').fill('From nine on.')
    await page.getByTestId('send').click()
    await page.getByRole('button', { name: 'Not sent. Try again' }).click()
    await page.getByTestId('pending').waitFor({ state: 'detached' })
    expect(await bubble('From nine on.').count()).to.equal(1)
    expect(problems).to.deep.equal([])
  })

  it('renews an expired token in the background', async () => {
    await start()
    await signInByLink()
    const [login, stream] = ['/api/v1/auth/login', '/api/v1/sse/conversations']
    const responses: string[] = []
    page.on('response', (response) => {
      const { pathname } = new URL(response.url())
      if (response.ok() && [login, stream].includes(pathname)) responses.push(pathname)
    })
    // Where the page takes longer than the token lives, no stream is open when it expires: the next token lives longer.
    for (let expiresInS = 2; responses[0] !== stream; expiresInS *= 2) {
      await storeToken(expiresInS)
      responses.length = 0
      await page.reload()
      await eventually(() => responses.includes(login) && responses.at(-1) === stream, 30_000)
    }
    expect(responses).to.deep.equal([stream, login, stream])
    await connected()
    await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.1', text: 'Still there?' }))
    await row(CONVERSATION).getByText('Still there?').waitFor()
    expect(problems.filter((problem) => !problem.includes('401'))).to.deep.equal([])
  })

  it('can be used with the keyboard only', async () => {
    await start()
    await signInByLink()
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute('data-testid'))
    await row('demo-lena').waitFor()
    await page.keyboard.press('Tab')
    expect(await focused()).to.equal('conversation-demo-lena')
    await page.keyboard.press('ArrowDown')
    expect(await focused()).to.equal('conversation-demo-tomas')
    await page.keyboard.press('End')
    expect(await focused()).to.equal('conversation-demo-priya')
    await page.keyboard.press('Enter')
    await bubble('ordering tonight!').waitFor()
    // One Tab leaves the list from a row.
    await page.keyboard.press('Tab')
    expect(await focused()).to.equal('compare')
    await page.getByRole('button', { name: 'Skip to the reply' }).focus()
    await page.keyboard.press('Enter')
    expect(await focused()).to.equal('reply')
    await page.keyboard.type('Enjoy the trip!')
    await page.keyboard.press('Control+Enter')
    await bubble('Enjoy the trip!').waitFor()
    expect(problems).to.deep.equal([])
  })

  it('fits a phone: shows the list, then the thread, and returns', async () => {
    await start({ viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true })
    await signInByLink()
    await deliverStory()
    await row('demo-lena').tap()
    await bubble('can I pick them up in the shop?').waitFor()
    expect(await page.getByTestId('conversations').isVisible()).to.equal(false)
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).to.equal(390)
    await screenshot(page, 'inbox-phone')
    await page.goBack()
    await row('demo-lena').waitFor()
    expect(await page.getByTestId('thread').count()).to.equal(0)
    expect(problems).to.deep.equal([])
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    it(`renders in the ${colorScheme} scheme`, async () => {
      await start({ ...DESKTOP, colorScheme })
      await signInByLink()
      await deliverStory()
      await row('demo-lena').click()
      await page.getByTestId('reply').fill('Of course! We are open from nine, they will be at the counter.')
      await page.getByTestId('reply').press('Enter')
      await page.getByTestId('pending').waitFor({ state: 'detached' })
      await bubble('Of course!').waitFor()
      // A typical view: a started draft, and the mouse outside.
      await page.getByTestId('reply').fill('Anything else I can')
      await page.mouse.move(800, 200)
      await screenshot(page, `inbox-${colorScheme}`)
      expect(problems).to.deep.equal([])
    })
  }

  /** Replaces the page's token, for its next load. */
  async function storeToken(expiresInS: number): Promise<void> {
    const session = { user: 'dana', tenant: 'acme' }
    const { body } = await inbox.call('POST', '/api/v1/auth/login', { body: { ...session, expiresInS } })
    const stored = JSON.stringify({ ...session, ...(body as { token: string }) })
    await page.evaluate((stored) => localStorage.setItem('inbox.session', stored), stored)
  }

  /** Adds a conversation that is not one of the demo's. */
  async function deliverStory(): Promise<void> {
    const text = 'Hi, can I change the size of my order before it ships?'
    await inbox.deliver('whatsapp', whatsAppPayload({ id: 'wamid.story', text }))
    await row(CONVERSATION).getByText(text).waitFor()
  }
})
