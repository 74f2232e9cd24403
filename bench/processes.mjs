/** Child processes of a bench: the server on one core, the load client on the other. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { cpus } from 'node:os'

const here = new URL('.', import.meta.url)

/** A child on one core, where the system can pin. */
export function start(script, core, args = [], flags = []) {
  const pinned = cpus().length > 1 && existsSync('/usr/bin/taskset')
  const options = pinned
    ? { execPath: '/usr/bin/taskset', execArgv: ['-c', String(core), process.execPath, ...flags] }
    : { execArgv: flags }
  return fork(new URL(script, here), args, options)
}

/** The next message of this type. */
export async function message(child, type) {
  for (;;) {
    const [received] = await once(child, 'message')
    if (received.type === type) return received
  }
}

/** Ends children and waits for it, so that the next ones have the cores for themselves. */
export async function stop(...children) {
  await Promise.all(
    children.map((child) => {
      child.kill()
      return once(child, 'exit')
    }),
  )
}

export function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
}
