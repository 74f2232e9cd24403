import { parseSync } from 'vite'

/** A node of the syntax tree (ESTree, with nodes of TypeScript). */
export interface Node {
  readonly type: string
  readonly start: number
  readonly end: number
  readonly [field: string]: unknown
}

/** @throws if the source has a syntax error */
export function parseSource(file: string, source: string): Node {
  const { program, errors } = parseSync(file, source)
  if (errors.length > 0) throw new Error(`${file} cannot be parsed: ${errors[0]?.message}`)
  return program as unknown as Node
}

/** Calls `visit` for each node, outer nodes first. Skips types and imports, which do nothing when the program runs. */
export function walk(node: Node, visit: (node: Node, parents: readonly Node[]) => void, parents: Node[] = []): void {
  if (isErased(node)) return
  visit(node, parents)
  parents.push(node)
  for (const [field, value] of Object.entries(node)) {
    if (field === 'typeAnnotation' || field === 'returnType') continue
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child)) walk(child, visit, parents)
    }
  }
  parents.pop()
}

export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string'
}

const RUNS = new Set(['TSAsExpression', 'TSSatisfiesExpression', 'TSNonNullExpression'])

function isErased({ type }: Node): boolean {
  return (type.startsWith('TS') && !RUNS.has(type)) || type === 'ImportDeclaration' || type === 'ExportAllDeclaration'
}

const FUNCTIONS = new Set(['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression'])

export function isFunction({ type }: Node): boolean {
  return FUNCTIONS.has(type)
}
