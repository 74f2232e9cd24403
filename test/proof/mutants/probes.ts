import { isNode, type Node, parseSource, walk } from './syntax.js'

/**
 * A probe reports, when the program first reaches it, that the code from `start` to `end` runs. Probe 0 is the file: it
 * is reached by who imports it.
 */
export interface Probe {
  readonly start: number
  readonly end: number
}

interface Insertion {
  readonly at: number
  readonly text: string
}

/** Positions of the probes of a file: the whole file, then its statements and the bodies of its arrow functions. */
export function probesOf(file: string, source: string): Probe[] {
  return [{ start: 0, end: source.length }, ...probedNodes(file, source)]
}

/** The source with its probes, which call `globalThis.__probe`. */
export function withProbes(file: string, source: string): string {
  const opening: Insertion[] = [{ at: 0, text: call(file, 0) }]
  const closing: Insertion[] = []
  probedNodes(file, source).forEach(({ start, end, wrap: [open, close] }, index) => {
    opening.push({ at: start, text: open.replace('PROBE', () => call(file, index + 1)) })
    closing.push({ at: end, text: close })
  })
  // At one position: first what closes, inner nodes first, then what opens, outer nodes first.
  return [...closing.reverse(), ...opening]
    .map((insertion, order) => ({ ...insertion, order }))
    .sort((one, other) => other.at - one.at || other.order - one.order)
    .reduce((text, { at, text: inserted }) => text.slice(0, at) + inserted + text.slice(at), source)
}

/** The innermost probe around a position. */
export function probeAt(probes: readonly Probe[], position: number): number {
  let found = 0
  probes.forEach(({ start, end }, index) => {
    const known = probes[found] as Probe
    if (start <= position && position < end && end - start <= known.end - known.start) found = index
  })
  return found
}

function probedNodes(file: string, source: string): (Probe & { wrap: readonly [string, string] })[] {
  const probes: (Probe & { wrap: readonly [string, string] })[] = []
  const add = ({ start, end }: Node, ...wrap: [string, string]): void => void probes.push({ start, end, wrap })
  walk(parseSource(file, source), (node) => {
    for (const statement of statementsOf(node)) add(statement, 'PROBE;', '')
    if (node.type === 'ArrowFunctionExpression' && node.expression) add(node.body as Node, '(PROBE,', ')')
    for (const branch of [node.consequent, node.alternate, node.body]) {
      if (isBareBranch(node, branch)) add(branch, '{PROBE;', '}')
    }
  })
  return probes
}

function statementsOf(node: Node): Node[] {
  const isList = ['BlockStatement', 'StaticBlock'].includes(node.type)
  const statements = isList ? node.body : node.type === 'SwitchCase' ? node.consequent : []
  return (statements as Node[]).filter(({ type }) => !type.endsWith('Declaration') || type === 'VariableDeclaration')
}

const WITH_BRANCHES = /^(?:If|While|For|ForOf|ForIn|DoWhile)Statement$/

function isBareBranch(node: Node, branch: unknown): branch is Node {
  return WITH_BRANCHES.test(node.type) && isNode(branch) && branch.type !== 'BlockStatement'
}

function call(file: string, index: number): string {
  return `globalThis.__probe?.(${JSON.stringify(`${file}#${index}`)})${index === 0 ? ';' : ''}`
}
