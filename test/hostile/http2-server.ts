/**
 * The site of the HTTP/2 cases, in a process of its own: some versions of Node abort under such input, with or without
 * the kit. It sends its port, and on `check` what it has found.
 */
import { Findings } from './area.js'
import { Site } from './site.js'

const PULSE_MS = 50

const findings = new Findings()
const site = await Site.start({ findings })
const pulse = setInterval(() => void site.pulse(), PULSE_MS)
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error) =>
    findings.violate(`nothing handled ${error instanceof Error ? error.stack : String(error)}`),
  )
}

async function check(): Promise<void> {
  clearInterval(pulse)
  await site.assertHealthy()
  await site.stop()
  process.send?.({ violations: findings.violations }, () => process.exit())
}

process.on('message', () => {
  check().catch((error: unknown) => {
    findings.violate(String(error))
    process.send?.({ violations: findings.violations }, () => process.exit())
  })
})
process.on('disconnect', () => process.exit())
process.send?.({ port: site.http2Port })
