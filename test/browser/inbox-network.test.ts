import { expect } from 'chai'
import type { Browser, Page } from 'playwright-core'
import { TestInbox, whatsAppPayload } from '../example/harness.js'
import { eventually } from '../helpers/eventually.js'
import { launch, openPage } from './browser.js'
import { bubble, connected, row, signInByLink, textsOf } from './inbox-page.js'

describe('the inbox in Chromium, disconnected', () => {
  let browser: Browser
  let inbox: TestInbox
  let page: Page
  let problems: string[]

  before(async () => {
    browser = await launch()
  })
  after(() => browser.close())

  beforeEach(async () => {
    inbox = await TestInbox.start()
    ;({ page, problems } = await openPage(browser))
    await signInByLink(page, inbox)
    await deliver(1)
    await row(page).click()
    await bubble(page, 'Number 1').waitFor()
  })
  afterEach(async () => {
    await page.context().close()
    await inbox.stop()
  })

  async function deliver(number: number): Promise<void> {
    await inbox.deliver('whatsapp', whatsAppPayload({ id: `wamid.${number}`, text: `Number ${number}` }))
  }

  it('by the network, shows messages sent meanwhile once, and then sends its own replies', async () => {
    await page.context().setOffline(true)
    await page.locator('[data-testid=connection][data-state=waiting]').waitFor()
    await eventually(() => inbox.services.multiplexer.status().streams === 0)
    await deliver(2)
    await page.getByTestId('reply').fill('Written in a tunnel')
    await page.getByTestId('reply').press('Enter')
    await page.getByTestId('pending').waitFor()
    expect(await page.getByTestId('pending').textContent()).to.contain('Sending')

    await page.context().setOffline(false)
    await connected(page)
    await page.getByTestId('pending').waitFor({ state: 'detached' })
    await deliver(3)
    await bubble(page, 'Number 3').waitFor()
    expect((await textsOf(page)).sort()).to.deep.equal(['Number 1', 'Number 2', 'Number 3', 'Written in a tunnel'])
    expect(problems).to.deep.equal([])
  })

  it('by a revoked token, reconnects with a new one, and shows messages sent meanwhile once', async () => {
    const opened = inbox.services.multiplexer.inspect()[0]?.id
    await inbox.services.revocations.revoke({ user: 'dana', tenant: 'acme' })
    await deliver(2)
    await eventually(() => {
      const [now] = inbox.services.multiplexer.inspect()
      return now !== undefined && now.id !== opened
    })
    await deliver(3)
    await bubble(page, 'Number 3').waitFor()
    expect(await textsOf(page)).to.deep.equal(['Number 1', 'Number 2', 'Number 3'])
    await page.getByTestId('reply').fill('Still me')
    await page.getByTestId('reply').press('Enter')
    await bubble(page, 'Still me').waitFor()
    expect(problems.filter((problem) => !problem.includes('401'))).to.deep.equal([])
  })

  it('by a token that the server rejects, retries the request with a new one', async () => {
    await page.evaluate(() => {
      const session = JSON.parse(localStorage.getItem('inbox.session') ?? '{}') as object
      localStorage.setItem('inbox.session', JSON.stringify({ ...session, token: 'no longer good' }))
    })
    const answers: number[] = []
    page.on('response', (answer) => answer.url().endsWith('/messages') && answers.push(answer.status()))
    await page.getByTestId('reply').fill('Who am I?')
    await page.getByTestId('reply').press('Enter')
    await bubble(page, 'Who am I?').waitFor()
    await page.getByTestId('pending').waitFor({ state: 'detached' })
    expect(answers).to.deep.equal([401, 201])
    expect(await bubble(page, 'Who am I?').count()).to.equal(1)
    expect(problems.filter((problem) => !problem.includes('401'))).to.deep.equal([])
  })

  it('from streams by an intermediary that buffers them, polls for the same events', async () => {
    // The request gets no response.
    await page.route('**/api/v1/sse/conversations', () => undefined)
    await page.reload()
    await page.locator('[data-testid=connection][data-state=polling]').waitFor({ timeout: 40_000 })
    expect(await page.getByTestId('connection').textContent()).to.equal('Connected (polling)')
    await deliver(2)
    await bubble(page, 'Number 2').waitFor()
    expect(await textsOf(page)).to.deep.equal(['Number 1', 'Number 2'])
    expect(problems).to.deep.equal([])
  })
})
