/** The kind of question that every token of a text is, as in `textTask`. */
export const textKind = "next";
