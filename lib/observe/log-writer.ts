import { runDetached } from '../core/callbacks.js'
import { detailsOf } from './error-causes.js'

/** Writes lines where the application wants them. A `write` that fails, at once or later, is warned of once and harms nobody. */
export function lineWriter<Line>(write: (line: Line) => unknown, what: string, code: string): (line: Line) => void {
  let warned = false
  const onFailed = (error: unknown): void => {
    if (warned) return
    warned = true
    const { name, message } = detailsOf(error)
    process.emitWarning(`The ${what} cannot be written: ${name}: ${message}`, { code })
  }
  return (line) => runDetached(() => write(line), onFailed)
}

/** One line of JSON. */
export function toStderr(line: object): void {
  process.stderr.write(`${JSON.stringify(line)}\n`)
}
