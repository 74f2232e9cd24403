/** One area of hostile input, and where it reports what it has seen. */
import type { Random } from '../proof/random.js'

export interface Area {
  readonly name: string
  /** What it sends, in a few words. */
  readonly about: string
  /** Starts what it needs, runs the cases, and ends it all. */
  run(cases: number, random: Random, findings: Findings): Promise<void>
}

const MAX_KEPT = 20
/** No case may take longer, on a busy machine either. */
const CASE_MS = 30_000

export class Findings {
  /** The cases that have ended. */
  cases = 0
  /** The number of broken promises. */
  violated = 0
  /** The first of them. */
  readonly violations: string[] = []
  /** What happened how often, such as each status. */
  readonly counts = new Map<string, number>()

  violate(text: string): void {
    this.violated++
    if (this.violations.length < MAX_KEPT) this.violations.push(text)
  }

  count(what: string | number): void {
    this.counts.set(String(what), (this.counts.get(String(what)) ?? 0) + 1)
  }

  /** Runs one case: an error or a hang is a violation. @param describe is called if it is one */
  async case(describe: () => string, run: () => Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const hang = new Promise<void>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`did not end within ${CASE_MS} ms`)), CASE_MS)
    })
    try {
      await Promise.race([run(), hang])
    } catch (error) {
      this.violate(`${describe()}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
    } finally {
      clearTimeout(timer)
    }
    this.cases++
  }
}

/** Runs cases, some of them at the same time. @param next starts the case with this number */
export async function inParallel(cases: number, width: number, next: (number: number) => Promise<void>): Promise<void> {
  let started = 0
  const work = async (): Promise<void> => {
    while (started < cases) await next(started++)
  }
  await Promise.all(Array.from({ length: width }, work))
}

/** Waits for some turns of the event loop: the moment at which a case goes on is a part of the case. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}
