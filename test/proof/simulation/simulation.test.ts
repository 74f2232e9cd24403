import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect } from 'chai'

describe('the simulation', () => {
  it('finds no broken promise in 1,000 worlds', async function () {
    this.timeout(300_000)
    // In a separate process, because the simulation replaces the timers.
    const file = fileURLToPath(new URL('run.ts', import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', file, '--seeds', '1000'])
    const { seeds, failed, unhandled, events, announcements } = JSON.parse(stdout)
    expect({ seeds, failed, unhandled }).to.deep.equal({ seeds: 1000, failed: 0, unhandled: 0 })
    expect(events).to.be.greaterThan(10_000)
    expect(announcements).to.be.greaterThan(300)
  })
})
