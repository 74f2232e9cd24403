import { expect } from 'chai'
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core'
import { TestInbox } from '../example/harness.js'
import { eventually } from '../helpers/eventually.js'
import { launch, openPage, screenshot } from './browser.js'

const DESKTOP = { viewport: { width: 1440, height: 1080 } }

describe('the workbench in Chromium', () => {
  let browser: Browser
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
  })

  async function open(options: BrowserContextOptions = DESKTOP): Promise<void> {
    inbox = await TestInbox.start()
    ;({ page, problems } = await openPage(browser, options))
    await page.goto(`${inbox.url}/workbench`)
    await page.locator('[data-testid=connection][data-state=open]').waitFor()
  }

  function card(name: string): Locator {
    return page.getByRole('article', { name, exact: true })
  }

  /** The current value of a plot. */
  async function shown(name: string, plot: string): Promise<number> {
    const figure = card(name).locator('figure').filter({ hasText: plot })
    return Number((await figure.locator('output').textContent())?.replace(',', ''))
  }

  it('plays a scenario: a stalled client lags, resumes reading, and its settings change while it runs', async () => {
    await open()
    await page.getByRole('button', { name: 'Stalled readers' }).click()
    await card('Stalled, replay').getByText('Its socket is full').waitFor()
    await eventually(async () => (await shown('Stalled, replay', 'Lag')) > 20)
    expect(await shown('Stalled, replay', 'Queue')).to.equal(0)
    await eventually(async () => (await shown('Stalled, drop-oldest', 'Queue')) === 50)
    await eventually(async () => (await shown('Stalled, drop-oldest', 'Drops a second')) > 0)
    const line = card('Stalled, replay').locator('.plot.lag .main .line')
    expect(await line.getAttribute('d')).to.match(/^M[\d.]+ [\d.]+L/)

    await card('Stalled, replay').getByRole('button', { name: 'Resume' }).click()
    await eventually(async () => (await shown('Stalled, replay', 'Lag')) === 0)
    await card('Stalled, replay').locator('summary').click()
    await card('Stalled, replay').getByLabel('Pacing').selectOption('chat')
    await card('Stalled, replay').getByText('Waits for tokens').waitFor()
    expect(await card('Stalled, replay').getByTestId('missed').textContent()).to.equal('0')
    expect(problems).to.deep.equal([])
  })

  it('can be used with the keyboard, and shows errors', async () => {
    await open()
    await page.getByRole('button', { name: 'Add a client' }).press('Enter')
    await page.getByRole('slider', { name: 'Events a second' }).press('End')
    await page.getByTestId('producer-switch').press('Enter')
    await eventually(async () => Number(await card('Client 1').getByTestId('got').textContent()) > 0)
    await page.getByRole('slider', { name: 'Event size' }).press('End')
    await page.getByRole('alert').filter({ hasText: 'at most' }).waitFor()
    await card('Client 1').locator('summary').press('Enter')
    await card('Client 1').getByLabel('When behind').selectOption('coalesce')
    await card('Client 1').getByLabel('Queue').fill('7')
    await card('Client 1').getByLabel('Queue').press('Enter')
    await eventually(() => inbox.services.workbench.state().clients[0]?.queueEvents === 7)
    await page.getByRole('button', { name: 'Remove Client 1' }).press('Enter')
    await card('Client 1').waitFor({ state: 'detached' })
    expect(problems.filter((problem) => !problem.includes('400'))).to.deep.equal([])
  })

  it('links to the inbox', async () => {
    await open()
    await page.getByRole('button', { name: 'Six policies' }).click()
    await card('coalesce').waitFor()
    await page.getByRole('link', { name: 'Inbox' }).click()
    await page.getByTestId('sign-in').waitFor()
    expect(problems).to.deep.equal([])
  })

  it('fits a phone', async () => {
    await open({ viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true })
    await page.getByRole('button', { name: 'Bursts, paced' }).tap()
    await eventually(async () => (await shown('Dashboard', 'Lag')) > 0)
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).to.equal(390)
    await card('Dashboard').scrollIntoViewIfNeeded()
    await screenshot(page, 'workbench-phone')
    expect(problems).to.deep.equal([])
  })

  for (const [colorScheme, scenario, story] of [
    ['light', 'Six policies, one pace', 1800],
    ['dark', 'Pressure and polling', 9000],
  ] as const) {
    it(`renders in the ${colorScheme} scheme`, async () => {
      await open({ ...DESKTOP, colorScheme })
      await page.getByRole('button', { name: scenario }).click()
      await page.mouse.move(1000, 990)
      // Waits until the plots have data.
      const events = process.env.SCREENSHOTS === '1' ? story : 1
      const { workbench } = inbox.services
      // The page's request may not have arrived yet.
      await eventually(() => workbench.running && workbench.bench().producer.published >= events, 55_000)
      await screenshot(page, `workbench-${colorScheme}`)
      expect(problems).to.deep.equal([])
    })
  }
})
