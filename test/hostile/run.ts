/**
 * `npm run hostile -- [--cases N] [--seed S] [--only name,name]`: hostile input of each area, N cases each. Prints one
 * line for each area, and exits with 1 if a promise was broken.
 */

import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Random } from '../proof/random.js'
import { type Area, Findings } from './area.js'
import { AREAS } from './areas.js'

/** How much the heap may grow from a tenth of the cases to all of them. */
const MAX_GROWTH_BYTES = 48_000_000

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

async function heapBytes(): Promise<number> {
  // Closed connections are released in later turns.
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    collectGarbage()
  }
  return process.memoryUsage().heapUsed
}

/** @returns whether no promise was broken */
async function run(area: Area, cases: number, seed: number): Promise<boolean> {
  const beganAt = performance.now()
  const findings = new Findings()
  const onCrash = (error: unknown): void =>
    findings.violate(`nothing handled ${error instanceof Error ? error.stack : String(error)}`)
  const events = ['uncaughtException', 'unhandledRejection'] as const
  for (const event of events) process.on(event, onCrash)
  const warmUp = Math.ceil(cases / 10)
  await area.run(warmUp, new Random(seed), findings)
  const before = await heapBytes()
  if (cases > warmUp) await area.run(cases - warmUp, new Random(seed + 1), findings)
  const grownBytes = (await heapBytes()) - before
  for (const event of events) process.off(event, onCrash)
  if (grownBytes > MAX_GROWTH_BYTES) findings.violate(`the heap has grown by ${grownBytes} bytes`)
  const line = {
    area: area.name,
    seed,
    cases: findings.cases,
    violations: findings.violated,
    grownMb: Math.round(grownBytes / 1e5) / 10,
    s: Math.round((performance.now() - beganAt) / 100) / 10,
    counts: Object.fromEntries([...findings.counts].sort()),
  }
  console.log([JSON.stringify(line), ...findings.violations.map((violation) => `  ${violation}`)].join('\n'))
  return findings.violated === 0
}

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
  },
})
const [cases, seed] = [Number(values.cases), Number(values.seed)]
if (!Number.isSafeInteger(cases) || cases < 1 || !Number.isSafeInteger(seed)) {
  console.error('--cases must be a whole number from 1, --seed a whole number')
  process.exit(2)
}
const wanted = values.only === '' ? AREAS.map(({ name }) => name) : values.only.split(',')
const unknown = wanted.filter((name) => AREAS.every((area) => area.name !== name))
if (unknown.length > 0) {
  console.error(`--only: there is no ${unknown.join()}, only ${AREAS.map(({ name }) => name).join()}`)
  process.exit(2)
}
let failed = 0
for (const area of AREAS) if (wanted.includes(area.name) && !(await run(area, cases, seed))) failed++
process.exit(failed > 0 ? 1 : 0)
